"""PyTorch files in the layouts that the authors published, written here and read back."""

import argparse
import collections
import os
import pathlib
import pickle
import sys
import types
import warnings

import numpy as np
import pytest

import model_ports as mp
from tests import recipe
from tests.model_ports.published import TINY, state_dict

torch = pytest.importorskip("torch", reason="writing PyTorch files needs the [convert] extra")

HUBERT, ECG_FM = TINY["hubert_ecg_small"], TINY["ecg_fm"]
LEADS = ("F3", "C3", "O1")


def tensors(entries):
    return collections.OrderedDict((n, torch.from_numpy(a.copy())) for n, a in entries.items())


def parameter_hash(name, entries, **config):
    return mp.weights_hash(mp.from_state_dict(name, entries, **config))


@pytest.fixture
def author_class(monkeypatch):
    """Returns a function that makes an instance of a class only its author's code has."""

    stands_in = set()

    def make(module, name, state):
        parts = module.split(".")
        for i in range(1, len(parts) + 1):
            path = ".".join(parts[:i])
            if path not in stands_in:  # for the real one too, where it is installed
                stands_in.add(path)
                monkeypatch.setitem(sys.modules, path, types.ModuleType(path))
        if not hasattr(sys.modules[module], name):
            cls = type(name, (), {"__module__": module})
            monkeypatch.setattr(sys.modules[module], name, cls, raising=False)
        instance = getattr(sys.modules[module], name)()
        instance.__dict__.update(state)
        return instance

    return make


# LaBraM

def labram_base(**config):
    """Entries of labram-base.pth: the masked pre-training model, without fc_norm."""
    entries = state_dict("labram", leads=LEADS, depth=2, **config)
    norm = {f"fc_norm.{part}": entries.pop(f"fc_norm.{part}") for part in ("weight", "bias")}
    assert set(norm) == {"fc_norm.weight", "fc_norm.bias"}
    student = entries | {
        "mask_token": np.ones((1, 1, 200), np.float32),
        "norm.weight": np.full(200, 7, np.float32), "norm.bias": np.full(200, 7, np.float32),
        "lm_head.weight": np.ones((16, 200), np.float32), "lm_head.bias": np.ones(16, np.float32),
    }
    outer = {
        "logit_scale": np.array(2.0, np.float32),
        "lm_head.weight": np.ones((16, 200), np.float32), "lm_head.bias": np.ones(16, np.float32),
        "projection_head.0.weight": np.ones((200, 200), np.float32),
        "projection_head.0.bias": np.ones(200, np.float32),
    }
    published = {f"student.{name}": array for name, array in student.items()} | outer
    return entries, published


def test_labram_base(tmp_path):
    entries, published = labram_base()
    path = tmp_path / "labram-base.pth"
    torch.save({
        "model": tensors(published), "optimizer": {"state": {}, "param_groups": [{"lr": 1e-3}]},
        "epoch": 49, "scaler": {}, "args": argparse.Namespace(lr=5e-4, output_dir="out"),
    }, path)
    encoder, coverage = mp.read_checkpoint("labram", path, leads=LEADS, depth=2)
    norm = {"fc_norm.weight": np.ones(200, np.float32), "fc_norm.bias": np.zeros(200, np.float32)}
    assert mp.weights_hash(encoder) == parameter_hash(
        "labram", entries | norm, leads=LEADS, depth=2
    )
    assert set(coverage.read) == set(entries)
    assert set(coverage.initial) == set(norm)
    assert set(coverage.ignored) == set(published) - {f"student.{name}" for name in entries}
    assert coverage.total - coverage.matched == 400


def test_labram_base_under_its_training_wrappers(tmp_path):
    entries, published = labram_base()
    path = tmp_path / "renamed.pth"
    torch.save({"module": tensors({f"module.{n}": a for n, a in published.items()})}, path)
    _, coverage = mp.read_checkpoint("labram", path, leads=LEADS, depth=2)
    assert set(coverage.read) == set(entries)


def test_labram_base_needs_lead_names(tmp_path):
    torch.save({"model": tensors(labram_base()[1])}, tmp_path / "labram-base.pth")
    with pytest.raises(mp.InputError, match="needs to know the leads"):
        mp.from_checkpoint("labram", tmp_path / "labram-base.pth", depth=2)


def test_labram_as_the_reference_saves_it(tmp_path):
    """No prefix, 30 rows of time, no position table, a head."""
    entries = state_dict("labram", depth=2, time_rows=30)
    head = {"head.weight": np.ones((2, 200), np.float32), "head.bias": np.ones(2, np.float32)}
    torch.save({"model": tensors(entries | head)}, tmp_path / "epoch.pth")
    encoder, coverage = mp.read_checkpoint("labram", tmp_path / "epoch.pth", depth=2)
    assert encoder.config.time_rows == 30
    assert encoder.time_embed.shape == (1, 30, 200)
    assert set(coverage.ignored) == set(head)
    assert mp.weights_hash(encoder) == parameter_hash("labram", entries, depth=2, time_rows=30)


def test_fc_norm_is_not_made_up_for_other_files(tmp_path):
    entries = state_dict("labram", depth=2)
    del entries["fc_norm.bias"]
    torch.save({"model": tensors(entries)}, tmp_path / "fine-tuned.pth")
    with pytest.raises(mp.InputError, match=r"missing: fc_norm\.bias \(200,\)"):
        mp.from_checkpoint("labram", tmp_path / "fine-tuned.pth", depth=2)


def test_unknown_entry_within_the_student_is_refused(tmp_path):
    published = labram_base()[1] | {"student.adapter": np.ones(3, np.float32)}
    torch.save({"model": tensors(published)}, tmp_path / "labram-base.pth")
    with pytest.raises(mp.InputError, match="unexpected: adapter"):
        mp.from_checkpoint("labram", tmp_path / "labram-base.pth", leads=LEADS, depth=2)


# HuBERT-ECG

def hubert_wrapper(entries, config):
    heads = {
        "masked_spec_embed": np.ones(32, np.float32),
        "final_proj.0.weight": np.ones((5, 32), np.float32),
        "final_proj.0.bias": np.ones(5, np.float32),
        "label_embedding.0.weight": np.ones((7, 5), np.float32),
    }
    return {
        "global_step": 100, "patience_count": 0, "model_config": config,
        "model_state_dict": tensors(entries | heads),
        "optimizer_state_dict": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []},
        "best_val_loss": np.float64(1.5), "best_val_accuracy": np.float32(0.5),
        "lr_scheduler_state_dict": {"last_epoch": 3, "_last_lr": [1e-4]},
        "pretraining_vocab_sizes": [100],
    }, set(heads)


@pytest.mark.parametrize("module", ["hubert_ecg", "code.hubert_ecg", "__main__"])
@pytest.mark.parametrize("old_spelling", [False, True])
def test_hubert_ecg(tmp_path, author_class, module, old_spelling):
    entries = state_dict("hubert_ecg_small", **HUBERT)
    config = author_class(module, "HuBERTECGConfig", {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
        "intermediate_size": 48, "conv_dim": [16] * 5, "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4, "vocab_sizes": [100], "torch_dtype": torch.float32,
        "id2label": {0: "LABEL_0"},
    })
    conv = "encoder.pos_conv_embed.conv"
    spelling = {
        f"{conv}.parametrizations.weight.original0": f"{conv}.weight_g",
        f"{conv}.parametrizations.weight.original1": f"{conv}.weight_v",
    } if old_spelling else {}
    written, heads = hubert_wrapper({spelling.get(n, n): a for n, a in entries.items()}, config)
    torch.save(written, tmp_path / "hubert_ecg_small.pt")
    encoder, coverage = mp.read_checkpoint("hubert_ecg_small", tmp_path / "hubert_ecg_small.pt")
    assert encoder.config.num_heads == 4  # no tensor shape tells it
    assert mp.weights_hash(encoder) == parameter_hash("hubert_ecg_small", entries, **HUBERT)
    assert set(coverage.ignored) == heads
    assert coverage.matched == coverage.total


def test_hubert_configuration_saved_as_a_dictionary(tmp_path):
    entries = state_dict("hubert_ecg_small", **HUBERT)
    config = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
        "intermediate_size": 48, "conv_dim": [16] * 5, "num_conv_pos_embeddings": 8,
        "num_conv_pos_embedding_groups": 4,
    }
    torch.save(hubert_wrapper(entries, config)[0], tmp_path / "resaved.pt")
    assert mp.from_checkpoint("hubert_ecg_small", tmp_path / "resaved.pt").config.num_heads == 2


def test_another_published_size_is_told(tmp_path):
    # expanded tensors: one stored number stands for each array
    large = {
        name: torch.ones(()).expand(array.shape)
        for name, array in state_dict_shapes("hubert_ecg_large").items()
    }
    torch.save({"model_state_dict": large}, tmp_path / "hubert_ecg_large.pt")
    with pytest.raises(mp.InputError, match="it is hubert_ecg_large, not hubert_ecg_base"):
        mp.from_checkpoint("hubert_ecg_base", tmp_path / "hubert_ecg_large.pt")


def state_dict_shapes(name):
    from tests.golden import Golden

    shapes = Golden(name).manifest["state_dict"]
    return {n: np.broadcast_to(np.float32(1), s) for n, s in shapes.items()}


# ECG-FM

def fairseq(entries, cfg):
    heads = {
        "mask_emb": np.ones(32, np.float32), "quantizer.vars": np.ones((1, 6, 4), np.float32),
        "project_q.weight": np.ones((8, 8), np.float32),
        "final_proj.weight": np.ones((8, 32), np.float32),
    }
    return {
        "args": None, "cfg": cfg, "model": tensors(entries | heads), "criterion": None,
        "optimizer_history": [{"criterion_name": "Wav2vec2WithCmscCriterion", "num_updates": 9}],
        "task_state": {}, "extra_state": {"metrics": {}, "epoch": 3},
        "last_optimizer_state": {"state": {}},
    }


@pytest.mark.parametrize("norm_first", [False, True])
@pytest.mark.parametrize("kind", ["dictionary", "omegaconf", "args"])
def test_ecg_fm_reads_the_norm_placement(tmp_path, author_class, kind, norm_first):
    entries = state_dict("ecg_fm", **ECG_FM)
    cfg = {"_name": None, "model": {"_name": "wav2vec2_cmsc", "layer_norm_first": norm_first}}
    if kind == "omegaconf":
        node = author_class("omegaconf.nodes", "AnyNode", {"_val": norm_first})
        model = author_class(
            "omegaconf.dictconfig", "DictConfig", {"_content": {"layer_norm_first": node}}
        )
        cfg = author_class("omegaconf.dictconfig", "DictConfig", {"_content": {"model": model}})
    written = fairseq(entries, cfg)
    if kind == "args":
        written |= {"cfg": None, "args": argparse.Namespace(layer_norm_first=norm_first)}
    torch.save(written, tmp_path / "mimic_iv_ecg_physionet_pretrained.pt")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        encoder, coverage = mp.read_checkpoint(
            "ecg_fm", tmp_path / "mimic_iv_ecg_physionet_pretrained.pt", **ECG_FM
        )
    assert encoder.config.layer_norm_first is norm_first
    assert mp.weights_hash(encoder) == parameter_hash("ecg_fm", entries, **ECG_FM)
    assert len(coverage.ignored) == 4


def test_ecg_fm_fine_tuned(tmp_path):
    entries = state_dict("ecg_fm", **ECG_FM)
    fine_tuned = {f"encoder.{n}": a for n, a in entries.items()}
    fine_tuned["proj.weight"] = np.ones((2, 32), np.float32)
    torch.save(
        {"model": tensors(fine_tuned), "cfg": {"model": {"layer_norm_first": True}}},
        tmp_path / "mimic_iv_ecg_finetuned.pt",
    )
    encoder, coverage = mp.read_checkpoint(
        "ecg_fm", tmp_path / "mimic_iv_ecg_finetuned.pt", **ECG_FM
    )
    assert coverage.ignored == ("proj.weight",)
    assert mp.weights_hash(encoder) == parameter_hash(
        "ecg_fm", entries, layer_norm_first=True, **ECG_FM
    )


def test_ecg_fm_without_its_configuration_warns(tmp_path):
    torch.save(tensors(state_dict("ecg_fm", **ECG_FM)), tmp_path / "bare.pt")
    with pytest.warns(UserWarning, match="does not say layer_norm_first"):
        encoder = mp.from_checkpoint("ecg_fm", tmp_path / "bare.pt", **ECG_FM)
    assert encoder.config.layer_norm_first is False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mp.from_checkpoint("ecg_fm", tmp_path / "bare.pt", layer_norm_first=True, **ECG_FM)


# NormWear

def test_normwear(tmp_path):
    """Encoder and decoder under 'model'."""
    entries = state_dict("normwear", **TINY["normwear"])
    decoder = {
        "mask_token": np.ones((1, 1, 8), np.float32),
        "decoder_pos_embed": np.ones((1, 560, 8), np.float32),
        "decoder_blocks.0.norm1.weight": np.ones(8, np.float32),
        "spatial_recon.norm.num_batches_tracked": np.zeros((), np.int64),
    }
    path = tmp_path / "normwear_last_checkpoint-15470-correct.pth"
    torch.save({"model": tensors(entries | decoder)}, path)
    encoder, coverage = mp.read_checkpoint("normwear", path, **TINY["normwear"])
    assert set(coverage.ignored) == set(decoder)
    assert coverage.matched == coverage.total
    assert mp.weights_hash(encoder) == parameter_hash("normwear", entries, **TINY["normwear"])


def test_normwear_fine_tuned_with_another_position_table(tmp_path):
    tiny = TINY["normwear"] | {"position_rows": 20}
    entries = state_dict("normwear", **tiny)
    assert entries["pos_embed"].shape == (1, 1 + 20 * 13, 24)
    tuned = {f"backbone.{n}": a for n, a in entries.items()}
    tuned["head.linear.weight"] = np.ones((2, 24), np.float32)
    torch.save({"model": tensors(tuned), "args": argparse.Namespace()}, tmp_path / "best.pth")
    encoder, coverage = mp.read_checkpoint("normwear", tmp_path / "best.pth", **TINY["normwear"])
    assert encoder.config.position_rows == 20
    assert coverage.ignored == ("head.linear.weight",)
    assert mp.weights_hash(encoder) == parameter_hash("normwear", entries, **tiny)


# PaPaGei

@pytest.mark.parametrize("prefix", ["module.", ""])
def test_papagei(tmp_path, prefix):
    """The file is the state dict, as DataParallel names it; plain after fine-tuning."""
    entries = state_dict("papagei", **TINY["papagei"])
    counter = {"first_block_bn.num_batches_tracked": np.array(7)}
    published = {prefix + n: a for n, a in (entries | counter).items()}
    torch.save(tensors(published), tmp_path / "papagei_s.pt")
    # every size shows in the shapes
    encoder, coverage = mp.read_checkpoint("papagei", tmp_path / "papagei_s.pt")
    assert coverage.ignored == tuple(counter)
    assert coverage.matched == coverage.total
    assert mp.weights_hash(encoder) == parameter_hash("papagei", entries)


# ECG-DualNet

def test_ecg_dualnet(tmp_path):
    """The file is the state dict, index buffers included; the classes show in the head."""
    entries = state_dict("ecg_dualnet", **TINY["ecg_dualnet"])
    buffer = "spectrogram_encoder.2.axial_attention_mapping.0.relative_indexes"
    published = entries | {buffer: np.arange(4)}
    torch.save(tensors(published), tmp_path / "best_model.pt")
    encoder, coverage = mp.read_checkpoint("ecg_dualnet", tmp_path / "best_model.pt")
    assert encoder.config.classes == 4
    assert coverage.ignored == (buffer,)
    assert coverage.matched == coverage.total
    assert mp.weights_hash(encoder) == parameter_hash("ecg_dualnet", entries)


# Tiny-BioMoE

@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.slow
def test_tiny_biomoe(tmp_path, dtype):
    """Everything under 'model_state_dict'; the published 89 MB suggest more than float32."""
    entries = state_dict("tiny_biomoe")
    buffers = {
        "enc1.patch_embed1.conv.1.num_batches_tracked": torch.tensor(3),
        "enc2.blocks1.0.mixer.m.attn.attention_bias_idxs": torch.zeros((49, 49), dtype=torch.int64),
    }
    wide = {n: t.to(dtype) for n, t in tensors(entries).items()}
    torch.save({"model_state_dict": wide | buffers}, tmp_path / "Tiny-BioMoE.pth")
    encoder, coverage = mp.read_checkpoint("tiny_biomoe", tmp_path / "Tiny-BioMoE.pth")
    assert set(coverage.ignored) == set(buffers)
    assert coverage.matched == coverage.total
    assert mp.weights_hash(encoder) == parameter_hash("tiny_biomoe", entries)


# any model

@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_precisions(tmp_path, dtype):
    entries = state_dict("hubert_ecg_small", **HUBERT)
    cast = {n: t.to(dtype) for n, t in tensors(entries).items()}
    torch.save(cast, tmp_path / "weights.pt")
    encoder = mp.from_checkpoint("hubert_ecg_small", tmp_path / "weights.pt", **HUBERT)
    wide = {n: t.to(torch.float32).numpy() for n, t in cast.items()}
    assert mp.weights_hash(encoder) == parameter_hash("hubert_ecg_small", wide, **HUBERT)


@pytest.mark.parametrize("legacy", [False, True])
def test_old_file_format_and_views(tmp_path, legacy):
    """Files from before PyTorch 1.6, and tensors that are transposed views of their storage."""
    entries = state_dict("hubert_ecg_small", **HUBERT)
    views = {
        n: torch.from_numpy(a.T.copy()).T if a.ndim == 2 else torch.from_numpy(a)
        for n, a in entries.items()
    }
    torch.save(views, tmp_path / "weights.pt", _use_new_zipfile_serialization=not legacy)
    encoder = mp.from_checkpoint("hubert_ecg_small", tmp_path / "weights.pt", **HUBERT)
    assert mp.weights_hash(encoder) == parameter_hash("hubert_ecg_small", entries, **HUBERT)


def test_weights_outlive_their_file(tmp_path):
    """Files are mapped into memory while they are read; the encoder must not be."""
    entries = state_dict("hubert_ecg_small", **HUBERT)
    path = tmp_path / "weights.pt"
    torch.save(tensors(entries), path)
    encoder = mp.from_checkpoint("hubert_ecg_small", path, **HUBERT)
    before = mp.weights_hash(encoder)
    with path.open("r+b") as file:
        file.write(b"\0" * path.stat().st_size)
    assert mp.weights_hash(encoder) == before


class _RunsCode:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    ("function", "name"),
    [(os.system, r"\w+\.system"), (eval, "eval"), (pathlib.Path.unlink, "getattr")],
)
@pytest.mark.parametrize("writer", ["torch", "legacy", "pickle"])
def test_pickle_that_runs_code_is_refused(tmp_path, function, name, writer):
    marker = tmp_path / "marker"
    marker.write_text("untouched")
    argument = {
        os.system: f"rm {marker}", eval: f"__import__('os').remove({str(marker)!r})",
    }.get(function, marker)
    evil = {"model": {"cls_token": torch.ones(1)}, "args": _RunsCode(function, argument)}
    path = tmp_path / "labram-base.pth"
    if writer == "pickle":
        path.write_bytes(pickle.dumps(evil["args"], protocol=2))
    else:
        torch.save(evil, path, _use_new_zipfile_serialization=writer == "torch")
    with pytest.raises(mp.InputError, match=rf"is refused: .* calls (\w+\.)*{name}"):
        mp.from_checkpoint("labram", path)
    assert marker.read_text() == "untouched"


def test_whole_module_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(mp.InputError, match="calls torch.nn.modules.linear.Linear"):
        mp.from_checkpoint("labram", tmp_path / "model.pt")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7, 0.99, 0.9999])
@pytest.mark.parametrize("legacy", [False, True])
def test_truncated_files_are_refused(tmp_path, share, legacy):
    path = tmp_path / "weights.pt"
    entries = tensors({f"e{i}": recipe.tensor(f"e{i}", (30, 30)) for i in range(9)})
    torch.save(entries, path, _use_new_zipfile_serialization=not legacy)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(mp.InputError, match=r"truncated|damaged"):
        mp.from_checkpoint("labram", path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "holds a list"),
        ({"epoch": 3, "weights": {"a": 1}}, r"no state dict: its keys are 'epoch', 'weights'"),
        ({"model": {"cls_token": torch.ones(1), "version": "1.0"}}, "entry version is a str"),
    ],
)
def test_files_without_a_state_dict(tmp_path, content, message):
    torch.save(content, tmp_path / "file.pt")
    with pytest.raises(mp.InputError, match=message):
        mp.from_checkpoint("labram", tmp_path / "file.pt")


def test_hub_folder_with_a_pytorch_file(tmp_path):
    entries = state_dict("hubert_ecg_small", **HUBERT)
    torch.save(tensors(entries), tmp_path / "pytorch_model.bin")
    (tmp_path / "config.json").write_text('{"num_attention_heads": 2}')
    encoder = mp.from_checkpoint("hubert_ecg_small", tmp_path, **HUBERT | {"num_heads": 4})
    assert encoder.config.num_heads == 4
    without = {k: v for k, v in HUBERT.items() if k != "num_heads"}
    assert mp.from_checkpoint("hubert_ecg_small", tmp_path, **without).config.num_heads == 2


def test_hub_names_win_over_what_a_trainer_leaves_beside(tmp_path):
    entries = state_dict("hubert_ecg_small", **HUBERT)
    torch.save(tensors(entries), tmp_path / "pytorch_model.bin")
    torch.save({"state": {}, "param_groups": []}, tmp_path / "optimizer.pt")
    torch.save({"learning_rate": 1e-3}, tmp_path / "training_args.bin")
    encoder = mp.from_checkpoint("hubert_ecg_small", tmp_path, **HUBERT)
    assert mp.weights_hash(encoder) == parameter_hash("hubert_ecg_small", entries, **HUBERT)


def test_tensors_that_numpy_cannot_hold_are_told():
    entries = {n: t.bfloat16() for n, t in tensors(state_dict("labram", depth=1)).items()}
    with pytest.raises(mp.InputError, match=r"cls_token is no NumPy array .* pass tensor\.detach"):
        mp.from_state_dict("labram", entries, depth=1)
