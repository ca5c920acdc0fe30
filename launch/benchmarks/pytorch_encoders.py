"""The PyTorch originals of the encoders, for comparison: built from checkouts, random weights.

The folder given with --reference holds the checkouts side by side:

    BioX-Bridge/       github.com/chenqi-li/BioX-Bridge: all encoders but the two below
    fairseq-signals/   github.com/Jwoo5/fairseq-signals: ecg_fm
    Tiny-BioMoE/       github.com/GkikasStefanos/Tiny-BioMoE: tiny_biomoe

Besides torch they need timm and transformers, and fairseq-signals hydra-core. What else they import
is not used by the encoders, and stood in for where it is missing.
"""

import ast
import contextlib
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import math
import pathlib
import re
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from model_ports.errors import InputError

# Imported by the originals, used by their training code only.
_UNUSED = (
    "torchvision", "torchaudio", "matplotlib", "pandas", "sklearn", "scipy", "tensorboardX", "h5py",
    "seaborn", "tqdm", "pytorch_wavelets",
)


@dataclasses.dataclass(frozen=True)
class Original:
    """One published model.

    Attributes:
        module: the torch module, in evaluation mode.
        layers: its layers, in the order of our layers.
        forward: signal -> whatever the model returns, front end included.
    """

    module: Any
    layers: Sequence[Any]
    forward: Callable[[Any], Any]


def build(name: str, reference: str) -> Original:
    """Builds the original of encoder `name` with random weights.

    Args:
        name: one of model_ports.available().
        reference: folder with the checkouts that the module's text lists.

    Raises:
        InputError: PyTorch or the checkout is not there.
    """
    try:
        import torch
    except ImportError as error:
        raise InputError("--reference needs PyTorch; leave it out for JAX alone.") from error
    builder, repository = _BUILDERS[name]
    folder = pathlib.Path(reference) / repository
    if not folder.is_dir():
        raise InputError(f"--reference={reference} has no folder {repository}, the original of {name}.")
    torch.manual_seed(0)
    warnings.filterwarnings("ignore")
    sys.dont_write_bytecode = True
    with contextlib.suppress(ImportError):
        # Before the stand-ins, which it would take for the packages themselves.
        importlib.import_module("transformers.models.hubert.modeling_hubert")
        sys.modules["transformers"].logging.set_verbosity_error()
    with stand_ins(), _importing_from(folder):
        original = builder(folder)
    original.module.eval().requires_grad_(False)
    return original


def _labram(folder: pathlib.Path) -> Original:
    del folder
    import timm

    importlib.import_module("LaBraM_anonymous.modeling_finetune")
    module = timm.create_model(
        "labram_base_patch200_200", pretrained=False, num_classes=2, drop_rate=0.0,
        drop_path_rate=0.1, attn_drop_rate=0.0, drop_block_rate=None, use_mean_pooling=True,
        init_scale=0.001, use_rel_pos_bias=False, use_abs_pos_emb=False, init_values=0.1,
        qkv_bias=False,
    )
    return Original(module, module.blocks, lambda x: module(x, input_chans=None, norm_output=False))


def _hubert_ecg(layers: int, features: int, heads: int) -> Callable[[pathlib.Path], Original]:
    def builder(folder: pathlib.Path) -> Original:
        del folder
        code = importlib.import_module("HuBERT_ECG_anonymous.code.hubert_ecg")
        module = code.HuBERTECG(code.HuBERTECGConfig(
            hidden_size=features, num_hidden_layers=layers, num_attention_heads=heads,
            intermediate_size=4 * features, conv_dim=(512,) * 5, conv_kernel=(10, 3, 3, 2, 2),
            conv_stride=(4, 2, 2, 2, 2), layerdrop=0.0, mask_time_prob=0.0, mask_time_length=1,
            classifier_proj_size=256,
        ))
        return Original(module, module.encoder.layers, module)

    return builder


def _ecg_fm(folder: pathlib.Path) -> Original:
    # Leaves out what the packages' own __init__ imports: training code and other models.
    root = "fairseq_signals"
    packages = {
        name: _bare_package(f"{root}{name}", folder / f"{root}{name}".replace(".", "/"))
        for name in ("", ".data", ".tasks", ".models", ".models.wav2vec2")
    }
    packages[".tasks"].Task = object
    packages[".models"].register_model = lambda name, dataclass=None: lambda cls: cls
    with _hashable_dataclasses(root):
        for package, module, names in (
            (".models", "model", ("BaseModel",)),
            (".models.wav2vec2", "wav2vec2", ("Wav2Vec2Config", "Wav2Vec2Model")),
        ):
            found = importlib.import_module(f"{root}{package}.{module}")
            for name in names:
                setattr(packages[package], name, getattr(found, name))
        code = importlib.import_module(f"{root}.models.wav2vec2.wav2vec2_cmsc")
    module = code.Wav2Vec2CMSCModel(code.Wav2Vec2CMSCConfig(
        encoder_layers=12, encoder_embed_dim=768, encoder_ffn_embed_dim=3072,
        encoder_attention_heads=12, layer_norm_first=False, encoder_layerdrop=0.0,
        extractor_mode="default", conv_feature_layers="[(256, 2, 2)] * 4", in_d=12,
        conv_bias=False, conv_pos=128, conv_pos_groups=16, quantize_targets=True, final_dim=256,
        latent_temp=(2, 0.5, 0.999995), all_gather=False, apply_mask=True, mask_prob=0.65,
    ))
    return Original(
        module, module.encoder.layers,
        lambda x: module.extract_features(x, padding_mask=None, mask=False),
    )


def _papagei(folder: pathlib.Path) -> Original:
    del folder
    code = importlib.import_module("papagei_anonymous.models.resnet")
    module = code.ResNet1DMoE(
        in_channels=1, base_filters=32, kernel_size=3, stride=2, groups=1, n_block=18,
        n_classes=512, n_experts=3,
    )
    return Original(module, module.basicblock_list, module)


def _normwear(folder: pathlib.Path) -> Original:
    del folder
    import torch

    _alias("timm.models.layers", "timm.layers")
    code = importlib.import_module("NormWear_anonymous.main_model")
    module = code.NormWearModel(weight_path="", optimized_cwt=True)

    def forward(x: torch.Tensor) -> torch.Tensor:
        image = module.calc_cwt(x.float(), device=x.device)
        return module.get_embedding(image.to(x.dtype), device=x.device)

    return Original(module, module.backbone.encoder_blocks, forward)


def _ecg_dualnet(folder: pathlib.Path) -> Original:
    import torch

    _bare_package("ECG_Classification_anonymous.ecg_classification",
                  folder / "ECG_Classification_anonymous/ecg_classification")
    package = "ECG_Classification_anonymous.ecg_classification"
    config = importlib.import_module(f"{package}.config").ECGAttNet_CONFIG_XL
    module = importlib.import_module(f"{package}.model").ECGAttNet(config=config)

    def forward(x: torch.Tensor) -> torch.Tensor:
        window = torch.hann_window(64, device=x.device)
        spectrum = torch.stft(
            x[:, 0].float(), 64, 32, 64, window, center=True, pad_mode="reflect",
            return_complex=True,
        )
        spectrum = spectrum.abs() / math.sqrt(float(window.square().sum()))
        image = spectrum.clamp(min=1e-8).log().transpose(1, 2)[:, None]
        return module(ecg_lead=x[:, 0].unfold(-1, 256, 224), spectrogram=image.to(x.dtype))

    return Original(module, module.spectrogram_encoder, forward)


def _tiny_biomoe(folder: pathlib.Path) -> Original:
    import torch

    spectformer = importlib.import_module("architecture.spectformer")
    efficientvit = importlib.import_module("architecture.efficientvit")
    # The module that joins the two experts is published in the README only.
    readme = (folder / "README.md").read_text(encoding="utf-8")
    code = next(b for b in re.findall(r"```python\n(.*?)```", readme, re.S) if "class MoE" in b)
    tree = ast.parse(code)
    tree.body = [node for node in tree.body if getattr(node, "name", "") == "MoE"]
    names = {"torch": torch, "nn": torch.nn, "emb_size": 96, "final_emb_size": 192}
    exec(compile(tree, str(folder / "README.md"), "exec"), names)
    first, second = spectformer.spectformer_t_w(), efficientvit.EfficientViT_w()
    first.head = second.head = torch.nn.Identity()
    module = names["MoE"](first, second)
    layers = [
        first.block1[0], first.block2[0], first.block3[0], first.block4[0], first.post_network[0],
        second.patch_embed, *second.blocks1, *second.blocks2, *second.blocks3, module.ln_out,
    ]
    return Original(module, layers, module)


_BUILDERS = {
    "ecg_dualnet": (_ecg_dualnet, "BioX-Bridge"),
    "ecg_fm": (_ecg_fm, "fairseq-signals"),
    "hubert_ecg_base": (_hubert_ecg(12, 768, 12), "BioX-Bridge"),
    "hubert_ecg_large": (_hubert_ecg(16, 960, 12), "BioX-Bridge"),
    "hubert_ecg_small": (_hubert_ecg(8, 512, 8), "BioX-Bridge"),
    "labram": (_labram, "BioX-Bridge"),
    "normwear": (_normwear, "BioX-Bridge"),
    "papagei": (_papagei, "BioX-Bridge"),
    "tiny_biomoe": (_tiny_biomoe, "Tiny-BioMoE"),
}


@contextlib.contextmanager
def _importing_from(folder: pathlib.Path) -> Iterator[None]:
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def _bare_package(name: str, folder: pathlib.Path) -> types.ModuleType:
    """Registers a package without running its __init__, so that its modules can be imported."""
    package = types.ModuleType(name)
    package.__path__ = [str(folder)]
    sys.modules[name] = package
    return package


def _alias(old: str, new: str) -> None:
    """Lets a module be imported by a name that newer releases dropped."""
    if importlib.util.find_spec(old) is None:
        sys.modules[old] = importlib.import_module(new)


@contextlib.contextmanager
def _hashable_dataclasses(package: str) -> Iterator[None]:
    """Dataclasses of `package` become hashable: Python 3.11 refuses others as field defaults."""
    published = dataclasses.dataclass

    def dataclass(cls: type | None = None, /, **options: Any) -> Any:
        def wrap(cls: type) -> type:
            own = cls.__module__.startswith(package)
            return published(cls, **(options | {"unsafe_hash": True} if own else options))

        return wrap if cls is None else wrap(cls)

    dataclasses.dataclass = dataclass
    try:
        yield
    finally:
        dataclasses.dataclass = published


class _StandInClass(type):
    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandInClass(name, (), {})


class _StandIn(types.ModuleType):
    """A module of empty classes."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _StandInClass(name, (), {})


class _StandInFinder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def __init__(self, names: Sequence[str]):
        self.names = names

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        if name.partition(".")[0] not in self.names:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        return _StandIn(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        del module


@contextlib.contextmanager
def stand_ins() -> Iterator[None]:
    """Empty modules in place of packages that are imported, never used and not installed."""
    finder = _StandInFinder([n for n in _UNUSED if importlib.util.find_spec(n) is None])
    sys.meta_path.append(finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        for name in [n for n in sys.modules if n.partition(".")[0] in finder.names]:
            del sys.modules[name]
