"""The whole method in a row: teacher, capture, scan, bridge, controls, metrics."""

import contextlib
import dataclasses
import functools
import logging
import pathlib
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

import model_ports as mp
from jaxbridge import hosts, metrics
from jaxbridge.bridge import num_parameters
from jaxbridge.bridged_model import BridgedModel, Position, check_position
from jaxbridge.checkpoint import restore_module, save_module
from jaxbridge.encoder_leads import check_leads
from jaxbridge.features.store import FeatureStore, ensure_features
from jaxbridge.features.sweep import Read, sweep
from jaxbridge.pretrained import save_pretrained
from jaxbridge.report.run.record import write_record
from jaxbridge.run_folder import (
    RunFolder,
    read_arrays,
    read_json,
    write_curve,
    write_json,
    write_rows,
)
from jaxbridge.saved_head import SavedHead
from jaxbridge.selection.folds import folds_by_subject
from jaxbridge.selection.two_stage import Selection, two_stage
from jaxbridge.teacher import HeadSettings, Teacher, fit_head
from jaxbridge.teacher_stage import teacher_stage
from jaxbridge.training.bridging import BridgeSettings, num_trained, trained_labels
from jaxbridge.training.checkpoints import until_done
from jaxbridge.training.fitting import Epoch
from jaxbridge.training.metric_log import MetricLog, require
from jaxbridge.training.optimizers import check_warmup
from jaxbridge.training.pair_data import PairData
from jaxbridge.training.target_cache import CacheSettings, TargetKind, check_drawable
from model_ports import Encoder
from model_ports.errors import InputError

STAGES = ("teacher", "features", "scan", "bridge", "controls", "report")
_SPLITS = ("train", "val", "test")
_log = logging.getLogger("jaxbridge")


class Windows(Protocol):
    """What `transfer` reads: a `WindowStore`, or `ArrayWindows` for arrays in memory."""

    labels: np.ndarray
    splits: np.ndarray
    subjects: np.ndarray | None

    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def modalities(self) -> tuple[str, ...]: ...
    @property
    def hash(self) -> str: ...
    @property
    def sources(self) -> Mapping[str, str]: ...
    def indices(self, split: str) -> np.ndarray: ...
    def shape(self, modality: str) -> tuple[int, ...]: ...
    def read(self, modality: str, indices: np.ndarray) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True)
class TransferSettings:
    """What a run does.

    Attributes:
        old_modality, new_modality: names in the window store.
        position: (m, l), or None to scan for it.
        head: how the old modality's head is fitted.
        bridge: what bridge is trained, and how.
        folds: folds of the scan's probes; as many as subjects if these are fewer.
        fold_by_subject: no subject is on both sides of a fold, where two or more are known; else, as
            in the reference, windows of one subject may be.
        batch_size: windows per call where nothing is trained.
        cache: where the bridge's targets are kept.
        checkpoint_every: steps between checkpoints of what is trained.
        log: where each epoch is logged beside `log.jsonl`, see `metric_log.KINDS`.
        seed: fixes initial values, folds and orders.

    Raises:
        InputError: prototypes alone shall move from the random start, an unknown log, fewer than 2
            folds.
    """

    old_modality: str
    new_modality: str
    position: tuple[int, int] | None = None
    head: HeadSettings = HeadSettings()
    bridge: BridgeSettings = BridgeSettings()
    folds: int = 5
    fold_by_subject: bool = True
    batch_size: int = 32
    cache: CacheSettings = CacheSettings()
    checkpoint_every: int = 500
    log: tuple[str, ...] = ("jsonl",)
    seed: int = 0

    def __post_init__(self) -> None:
        require(self.log)
        if self.folds < 2:
            raise InputError(f"folds is {self.folds}; it must be at least 2.")
        if self.bridge.trainable == "prototypes" and self.bridge.start == "random":
            raise InputError(
                "trainable='prototypes' moves nothing from start='random', where the low-rank map is "
                "zero; use start='ridge'."
            )

    def identity(self) -> dict[str, Any]:
        """Returns what decides the results; where targets are kept does not, their type does."""
        fields = dataclasses.asdict(self)
        del fields["checkpoint_every"], fields["log"]
        return {**fields, "cache": self.cache.dtype}


class TransferResult(NamedTuple):
    """What `transfer` returns.

    Attributes:
        model: predicts from the new modality alone.
        selection: scores of all positions, None where the position was given.
        metrics: rows of the results table, see `metrics.csv` in a run folder.
    """

    model: BridgedModel
    selection: Selection | None
    metrics: list[dict[str, Any]]


def transfer(
    windows: Windows, old: Encoder, new: Encoder, settings: TransferSettings, *,
    out: str | pathlib.Path | None = None, rerun: Collection[str] = (),
    head: SavedHead | None = None, until: Literal["bridge", "report"] = "report",
) -> TransferResult:
    """Reuses the old modality's labels for the new modality.

    Labels of the old modality's train and val windows fit the teacher; the pair windows train the
    bridge without labels; test windows are only evaluated. The controls are a bridge trained on
    shuffled pairs, which must fall to chance, and an oracle, a head fitted to the new modality's
    own labels on the layer that the bridge reads.

    Args:
        windows: paired windows with labels and splits train, val, pair and test.
        old: encoder of the old modality.
        new: encoder of the new modality.
        settings: see `TransferSettings`.
        out: run folder; finished stages in it are kept. None keeps nothing.
        rerun: stages to run again, with all later ones.
        head: the old modality's classifier, fitted before; `settings.head` then does not count.
        until: "bridge" ends when the bridge is trained, and leaves it in `out`/pretrained, an old
            encoder that was trained in `out`/old_encoder; there are no metrics then.

    Returns:
        The bridged model, the selection and the metrics.

    Raises:
        InputError: windows, encoders, settings or folder do not fit; see the message.
    """
    if out is None:
        if hosts.several():
            raise InputError("several processes need a run folder that all of them see; give `out`.")
        with tempfile.TemporaryDirectory() as folder:
            return transfer(
                windows, old, new, settings, out=pathlib.Path(folder) / "run", head=head, until=until
            )
    _check_training(windows, old, settings)
    run = _Run(windows, old, new, settings, pathlib.Path(out), rerun, head)
    return run.trained() if until == "bridge" else run.result()


class ScanInputs(NamedTuple):
    """What the choice of the position starts from.

    Attributes:
        teacher: the old encoder and its head, fitted.
        new_features, old_features: pooled features of all windows.
        pair: indices of the pair windows.
        labels: (pair windows,) the teacher's predictions on them.
        groups: (pair windows,) their subjects, None where folds shall not or cannot keep them apart.
    """

    teacher: Teacher
    new_features: FeatureStore
    old_features: FeatureStore
    pair: np.ndarray
    labels: np.ndarray
    groups: np.ndarray | None


def scan_inputs(
    windows: Windows, old: Encoder, new: Encoder, settings: TransferSettings, *,
    out: str | pathlib.Path, rerun: Collection[str] = (),
) -> ScanInputs:
    """Runs `transfer` up to its scan; `transfer` goes on in the same run folder.

    Arguments and errors as for `transfer`.
    """
    run = _Run(windows, old, new, settings, pathlib.Path(out), rerun)
    run.open_features()
    return run.scan_inputs()


class Positioned(NamedTuple):
    """A run up to where a bridge would be trained.

    Attributes:
        data: teacher, features and pseudo-labels.
        old_features: pooled features of all windows.
        position: where the bridge goes.
        selection: scores of all positions, None where the position was given.
        teacher_seconds: wall time that the teacher's stage took.
    """

    data: PairData
    old_features: FeatureStore
    position: Position
    selection: Selection | None
    teacher_seconds: float


def choose_position(
    windows: Windows, old: Encoder, new: Encoder, settings: TransferSettings, *,
    out: str | pathlib.Path, rerun: Collection[str] = (),
) -> Positioned:
    """Runs `transfer` up to the choice of the position; `transfer` goes on in the same run folder.

    Arguments and errors as for `transfer`.
    """
    run = _Run(windows, old, new, settings, pathlib.Path(out), rerun)
    run.open_features()
    seconds = read_json(run.folder.path / "teacher" / "done.json")["seconds"]
    return Positioned(run.data, run.old_features, *run.position(), seconds)


def fold_groups(
    windows: Windows, pair: np.ndarray, settings: TransferSettings
) -> np.ndarray | None:
    """Returns whose each pair window is, (pairs,); None where folds do not keep people apart.

    Args:
        windows: all windows.
        pair: (pairs,) indices of the pair windows.
        settings: for `fold_by_subject`.
    """
    if not settings.fold_by_subject or windows.subjects is None:
        return None
    groups = windows.subjects[pair]
    if len(np.unique(groups)) == 1:
        _log.info("all pairs are of %s: folds are of consecutive windows", groups[0])
        return None
    return groups


class _Run:
    """One run; each method is a stage that reads what earlier stages wrote."""

    def __init__(self, windows, old, new, settings, out, rerun, head=None):
        if head is not None:
            _check_head(head, windows)
            settings = dataclasses.replace(settings, head=head.settings)
        self.windows, self.new, self.settings = windows, new, settings
        for modality, encoder in ((settings.old_modality, old), (settings.new_modality, new)):
            if modality not in windows.modalities:
                raise InputError(
                    f"there is no modality {modality!r}; the windows have "
                    f"{', '.join(windows.modalities)}."
                )
            check_leads(encoder, windows, modality)
        if settings.position is not None:
            check_position(Position(*settings.position), new, old)
        self.split = {name: windows.indices(name) for name in (*_SPLITS, "pair")}
        for name, chosen in self.split.items():
            if not chosen.size:
                raise InputError(f"split {name!r} has no windows; prepare the windows with it.")
            found = set(windows.labels[chosen])
            absent = [c for i, c in enumerate(windows.class_names) if i not in found]
            if absent and name != "pair":
                raise InputError(
                    f"split {name!r} has no window of class {', '.join(absent)}; "
                    "use another seed or more subjects for the split."
                )
        if (weights := settings.head.class_weights) and len(weights) != len(windows.class_names):
            raise InputError(
                f"class weights {', '.join(f'{w:g}' for w in weights)}: give one for each of the "
                f"classes {', '.join(windows.class_names)}."
            )
        self.old_hash = mp.weights_hash(old)
        self.folder = RunFolder(
            out,
            {
                "windows_hash": windows.hash,
                "sources": windows.sources,
                "class_names": windows.class_names,
                "old": {**dataclasses.asdict(old.config), "weights_hash": self.old_hash},
                "new": {**dataclasses.asdict(new.config), "weights_hash": mp.weights_hash(new)},
                **settings.identity(),
                **({} if head is None else {"given_head": head.identity}),
            },
            STAGES,
            rerun,
        )
        self.shapes = ((1, *windows.shape(settings.new_modality)),
                       (1, *windows.shape(settings.old_modality)))
        self.teacher = self._teacher(old) if head is None else head.teacher

    def open_features(self) -> None:
        folder = self.folder.stage("features", self._features, goes_on=True)
        stores = read_json(folder / "stores.json")
        self.old_features = FeatureStore.open(
            folder / stores["old"], encoder=self.teacher.encoder, windows=self.windows
        )
        self.new_features = FeatureStore.open(
            folder / stores["new"], encoder=self.new, windows=self.windows
        )

    def trained(self) -> TransferResult:
        self.open_features()
        position, selection = self.position()
        model = self._trained(position)
        if hosts.first():
            self._save_pretrained(model, self.folder.path, [])
        hosts.barrier()
        if self._cache.exists():
            _log.info(
                "%s: targets, kept for a whole run in this folder (launch.transfer), which removes it "
                "at its end; without one, remove it as you like", self._cache,
            )
        return TransferResult(model, selection, [])

    def result(self) -> TransferResult:
        self.open_features()
        position, selection = self.position()
        model = self._trained(position)
        self.folder.stage("controls", lambda f: self._controls(f, position), goes_on=True)
        hosts.barrier()  # nobody reads the targets any more
        if hosts.first():
            shutil.rmtree(self._cache, ignore_errors=True)
        folder = self.folder.stage("report", lambda f: self._report(f, model))
        return TransferResult(model, selection, read_json(folder / "metrics.json"))

    def _trained(self, position: Position) -> BridgedModel:
        folder = self.folder.stage("bridge", lambda f: self._bridge(f, position), goes_on=True)
        model = self._model(position)
        if self._changed(model) is model.suffix:
            # The teacher's own encoder and head stay: it is judged, and controls start, with these.
            model = BridgedModel(
                self.new, nnx.clone(model.old), model.bridge, nnx.clone(model.head), position,
                pool=model.pool,
            )
        restore_module(folder / "checkpoint", self._changed(model))
        return model

    def _teacher(self, old: Encoder) -> Teacher:
        settings = self.settings
        return teacher_stage(
            self.folder, self.windows, old, settings.old_modality, settings.head,
            seed=settings.seed, batch_size=settings.batch_size,
            checkpoint_every=settings.checkpoint_every, log=settings.log,
            identity=settings.identity(),
        )

    def _features(self, folder: pathlib.Path) -> None:
        stores = {}
        for side, encoder, modality, pool in (
            ("old", self.teacher.encoder, self.settings.old_modality, "mean"),
            ("new", self.new, self.settings.new_modality, self.settings.bridge.pool),
        ):
            store = ensure_features(
                folder, encoder, self.windows, modality, pool=pool,
                batch_size=self.settings.batch_size,
            )
            stores[side] = store.path.name
        write_json(folder / "stores.json", stores)

    def position(self) -> tuple[Position, Selection | None]:
        if self.settings.position is not None:
            return Position(*self.settings.position), None

        def compute(folder: pathlib.Path) -> None:
            # Every process scans: the features are small. The first one's choice is what counts.
            selection = self._scan()
            write_json(folder / "selection.json", selection.as_dict())
            write_rows(folder / "selection.csv", selection.to_rows())

        folder = self.folder.stage("scan", compute)
        selection = Selection.from_dict(read_json(folder / "selection.json"))
        return Position(selection.m, selection.l), selection

    def scan_inputs(self) -> ScanInputs:
        pair = self.split["pair"]
        return ScanInputs(
            self.teacher, self.new_features, self.old_features, pair,
            self._teacher_predictions()[pair], fold_groups(self.windows, pair, self.settings),
        )

    def _scan(self) -> Selection:
        given, folds = self.scan_inputs(), self.settings.folds
        if given.groups is not None:
            folds = folds_by_subject(folds, given.groups)
        by = "window" if given.groups is None else "subject"
        _log.info("scan: %d folds by %s", folds, by)
        return two_stage(
            [given.new_features.outputs(i, given.pair) for i in range(self.new.num_layers)],
            [given.old_features.inputs(i, given.pair) for i in range(self.teacher.encoder.num_layers)],
            given.labels,
            num_folds=folds,
            groups=given.groups,
        )

    def _bridge(self, folder: pathlib.Path, position: Position) -> None:
        order = np.arange(len(self.split["pair"]))
        with (
            MetricLog(folder, "bridge", self.settings.log) as log,
            self._trained_on(folder, position, order, "the bridge", log) as (trained, curve),
        ):
            save_module(folder / "checkpoint", self._changed(trained))
            write_curve(folder / "curve.csv", curve)

    def _controls(self, folder: pathlib.Path, position: Position) -> None:
        seed, new = self.settings.seed, self.new_features.outputs(position.m)
        shuffled = np.random.default_rng(seed).permutation(len(self.split["pair"]))
        with (
            MetricLog(folder, "controls", self.settings.log) as log,
            self._trained_on(folder, position, shuffled, "on shuffled pairs", log) as (model, curve),
        ):
            write_curve(folder / "shuffled_curve.csv", curve)
            train, val = (
                self._labelled(new[self.split[k]], k) for k in ("train", "val")
            )
            oracle, _ = fit_head(
                train, val, len(self.windows.class_names),
                dataclasses.replace(self.settings.head, unfrozen=False, hidden=None,
                                    learning_rate=1e-3, epochs=200, patience=None),
                seed=seed, what="fitting the oracle",
            )
            predictions = {}
            for method, head in (("shuffled", model.suffix), ("oracle", oracle)):
                logits = self._by_split(method, head, lambda rows: new[rows])
                predictions |= {f"{method}_{k}": found.argmax(axis=1) for k, found in logits.items()}
            if hosts.first():
                np.savez(folder / "predictions.npz", **predictions)
            write_json(folder / "parameters.json", {"oracle": num_parameters(oracle)})

    def _report(self, folder: pathlib.Path, model: BridgedModel) -> None:
        new = self.settings.new_modality
        logits = self._by_split("bridge", model, self._reader(new))
        predictions = self._predictions(logits)
        rows = self._rows(model, predictions)
        write_json(folder / "metrics.json", rows)
        write_rows(folder / "metrics.csv", rows)
        if not hosts.first():
            return
        write_record(
            folder, self.windows, model, self.split, (self.settings.old_modality, new),
            {"teacher": self._teacher_logits()[self.split["test"]], "bridge": logits["test"]},
        )
        np.savez(folder / "predictions.npz", **predictions)
        metrics_of_bridge = [row for row in rows if row["method"] == "bridge"]
        self._save_pretrained(model, folder, metrics_of_bridge)

    def _save_pretrained(
        self, model: BridgedModel, folder: pathlib.Path, rows: list[dict[str, Any]]
    ) -> None:
        """Writes `folder`/pretrained, and `folder`/old_encoder where that was trained."""
        if mp.weights_hash(model.old) != self.old_hash:
            origin = "trained with a task head or a bridge by jaxbridge"
            mp.save(model.old, folder / "old_encoder", origin=origin)
        save_pretrained(
            model, folder / "pretrained", class_names=self.windows.class_names,
            modalities=(self.settings.new_modality, self.settings.old_modality),
            signal_shapes=tuple(shape[1:] for shape in self.shapes),
            preprocessing=_preprocessing(self.windows), metrics=rows,
        )

    def _predictions(self, logits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Classes by "method_split", and "windows_split", which windows they are of."""
        teacher = self._teacher_predictions()
        found = read_arrays(self.folder.path / "controls" / "predictions.npz")
        for k in _SPLITS:
            found[f"windows_{k}"] = self.split[k]
            found[f"teacher_{k}"] = teacher[self.split[k]]
            found[f"bridge_{k}"] = logits[k].argmax(axis=1)
        return found

    def _rows(
        self, model: BridgedModel, found: Mapping[str, np.ndarray]
    ) -> list[dict[str, Any]]:
        old, new = self.settings.old_modality, self.settings.new_modality
        teacher_parameters = num_parameters(
            self.teacher if self.settings.head.unfrozen else self.teacher.head
        )
        oracle = read_json(self.folder.path / "controls" / "parameters.json")["oracle"]
        trained = num_trained(model, self.settings.bridge)
        rows = []
        for k in _SPLITS:
            majority = np.bincount(self.windows.labels[self.split["train"]]).argmax()
            for method, modality, parameters, predictions in (
                ("chance", "", 0, np.full(len(self.split[k]), majority)),
                ("teacher", old, teacher_parameters, found[f"teacher_{k}"]),
                ("bridge", new, trained, found[f"bridge_{k}"]),
                ("bridge, shuffled pairs", new, trained, found[f"shuffled_{k}"]),
                ("oracle", new, oracle, found[f"oracle_{k}"]),
            ):
                rows.append({
                    "method": method, "modality": modality, "split": k,
                    "trainable_parameters": parameters,
                    **metrics.evaluate(
                        self.windows.labels[self.split[k]], predictions, self.windows.class_names
                    ),
                })
        return rows

    @contextlib.contextmanager
    def _trained_on(
        self, folder: pathlib.Path, position: Position, order: np.ndarray, what: str, log: MetricLog
    ) -> Iterator[tuple[BridgedModel, list[Epoch]]]:
        """Trains a bridge; pair `order[i]` of the new modality goes with pair i of the old.

        Its checkpoints stay until what is made of it within the context has been written.
        """
        settings, untrained = self.settings, self._model(position)
        if what == "the bridge":
            labels = trained_labels(untrained, settings.bridge)
            _log.info("parameters by module:\n%s", untrained.summary(labels))
        about = {**settings.identity(), "position": position, "what": what}
        with until_done(folder, about, every=settings.checkpoint_every) as checkpoints:
            yield self.data.train(
                untrained, settings.bridge, seed=settings.seed, order=order,
                what=f"training {what}", checkpoints=checkpoints, on_epoch=log.add,
            )

    @property
    def _cache(self) -> pathlib.Path:
        return self.folder.path / "cache"

    @functools.cached_property
    def data(self) -> PairData:
        settings = self.settings
        return PairData(
            self.windows, self.new, self.teacher, self.new_features, self._teacher_logits(),
            settings.new_modality, settings.old_modality, self.split["pair"], self.split["val"],
            settings.cache, self._cache, settings.batch_size,
        )

    def _model(self, position: Position) -> BridgedModel:
        """The bridged model with the bridge as it starts."""
        return self.data.untrained(position, self.settings.bridge, seed=self.settings.seed)

    def _changed(self, model: BridgedModel) -> nnx.Module:
        """The part of a bridged model that training changes."""
        inside = self.settings.bridge.trainable in ("bridge", "prototypes", "low_rank")
        return model.bridge if inside else model.suffix

    def _teacher_logits(self) -> np.ndarray:
        last = self.old_features.outputs(self.teacher.encoder.num_layers - 1)
        return np.asarray(self.teacher.head(jnp.asarray(last)))

    def _teacher_predictions(self) -> np.ndarray:
        return self._teacher_logits().argmax(axis=1)

    def _reader(self, modality: str):
        return lambda indices: self.windows.read(modality, indices)

    def _labelled(self, inputs: np.ndarray, split: str) -> tuple[np.ndarray, np.ndarray]:
        return inputs, self.windows.labels[self.split[split]]

    def _by_split(self, method: str, module: nnx.Module, read: Read) -> dict[str, np.ndarray]:
        """Logits of a module by split; all at once, so that it is compiled for one batch size."""
        rows = [self.split[k] for k in _SPLITS]
        found = sweep(
            _logits, module, read, np.concatenate(rows), batch_size=self.settings.batch_size,
            what=f"predicting: {method}",
        )
        parts = np.split(found, np.cumsum([len(some) for some in rows])[:-1])
        return dict(zip(_SPLITS, parts, strict=True))


def _check_training(windows: Windows, old: Encoder, settings: TransferSettings) -> None:
    """Refuses what the bridge's training would, but before teacher and scan, which are then lost."""
    bridge, pairs = settings.bridge, len(windows.indices("pair"))
    if not pairs or settings.old_modality not in windows.modalities:
        return  # refused with the other splits and modalities
    if bridge.epochs and pairs < bridge.batch_size:
        raise InputError(
            f"the bridge: batch size {bridge.batch_size} does not fit {pairs} training windows; "
            f"choose 1 to {pairs}."
        )
    if bridge.epochs:
        check_warmup(bridge.optimizer, bridge.num_steps(pairs))
    if bridge.prototypes == "real":
        shape, depth = windows.shape(settings.old_modality), old.num_layers
        # A place that there is not is refused with the encoders.
        places = range(depth) if settings.position is None else [
            int(np.clip(settings.position[1], 0, depth))
        ]
        most = max(
            TargetKind(place, pooled=place == depth).shape(old, shape)[0] for place in places
        )
        check_drawable(bridge.num_prototypes, pairs, most)


def _check_head(head: SavedHead, windows: Windows) -> None:
    if head.class_names != tuple(windows.class_names):
        raise InputError(
            f"the given head knows the classes {', '.join(head.class_names)}, the windows have "
            f"{', '.join(windows.class_names)}; use windows of the same task."
        )
    if head.windows_hash != windows.hash:
        _log.warning(
            "the given head was fitted to other windows (hash %s): make sure that none of the people "
            "it was fitted to are among these test subjects", head.windows_hash[:12],
        )


def _preprocessing(windows: Windows) -> dict[str, Any]:
    """What is known of how the windows came to be; the source files are in the run's record."""
    known = dict(getattr(windows, "metadata", {}))
    known.pop("sources", None)
    return {**known, "windows_hash": windows.hash}


def _logits(model: nnx.Module, inputs: jax.Array) -> jax.Array:
    return model(inputs)
