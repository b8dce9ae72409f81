"""Every published network has the published keys; any other can be built from its config."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_networks import (
    CONVOLVED,
    GOLDEN,
    MOIS,
    SAM,
    SLM,
    assert_same,
    lively,
    manifest,
    relative_rms,
    some_slices,
)

from mois_core.bench.synthetic_weights import synthetic_tensor
from mois_core.errors import BadInput
from mois_core.network.config import (
    HIERA_TINY,
    PRESETS,
    ConvEncoderConfig,
    EncoderConfig,
    ExemplarConfig,
    NetworkConfig,
    ShortMemoryConfig,
    preset,
    with_changes,
)
from mois_core.network.exemplar import ExemplarView, MoisSam2
from mois_core.network.loading import build
from mois_core.network.model import Prompts
from mois_core.network.short_long import SlmSam2

MANIFEST_OF_PRESET = {
    "mois-sam2-b+": "mois_sam2.1_hiera_b+",
    "sam2.1-t": "sam2.1_hiera_t",
    "sam2.1-s": "sam2.1_hiera_s",
    "sam2.1-b+": "sam2.1_hiera_b+",
    "sam2.1-l": "sam2.1_hiera_l",
    "slm-sam2-t": "slm_sam2_hiera_t",
    "mois-tiny": "mois_tiny",
    "slm-tiny": "slm_tiny",
}
SPOT_VALUES = json.loads((GOLDEN / "weights_check.json").read_text(encoding="utf-8"))


def as_shape_only(config):
    """The network without memory for its weights: the large ones would take gigabytes."""
    with torch.device("meta"):
        return build(config)


# ---- keys, shapes and weights ------------------------------------------------------------------


@pytest.mark.parametrize("name", MANIFEST_OF_PRESET)
def test_keys_and_shapes_are_those_of_the_published_model(name):
    entries = manifest(MANIFEST_OF_PRESET[name])
    network = as_shape_only(preset(name))

    assert {key: list(value.shape) for key, value in network.state_dict().items()} == {
        key: entry["shape"] for key, entry in entries.items()
    }


@pytest.mark.parametrize("name", MANIFEST_OF_PRESET)
def test_types_and_parameter_counts_are_those_of_the_published_model(name):
    entries = manifest(MANIFEST_OF_PRESET[name])
    network = as_shape_only(preset(name))

    assert {value.dtype for value in network.state_dict().values()} == {torch.float32}
    assert {entry["dtype"] for entry in entries.values()} == {"float32"}
    assert {key for key, _ in network.named_buffers()} == {
        key for key, entry in entries.items() if entry["buffer"]
    }
    published = sum(int(np.prod(e["shape"])) for e in entries.values() if not e["buffer"])
    assert sum(value.numel() for value in network.parameters()) == published


def test_every_preset_but_our_own_has_a_manifest():
    assert PRESETS.keys() - MANIFEST_OF_PRESET.keys() == {"phantom"}


@pytest.mark.parametrize("model", SPOT_VALUES)
def test_synthetic_weights_have_the_published_spot_values(model):
    entries, expected = manifest(model), SPOT_VALUES[model]
    for key, spot in expected["tensors"].items():
        shape = tuple(entries[key]["shape"])
        values = synthetic_tensor(key, shape, expected["salt"], expected["obj_score_bias"])
        exact = values.astype(np.float64)
        assert np.allclose(values.ravel()[:3], spot["first3"], rtol=1e-6), key
        assert np.isclose(exact.sum(), spot["sum"], rtol=1e-6, atol=1e-6), key
        assert np.isclose((exact**2).sum(), spot["sumsq"], rtol=1e-6), key


@pytest.mark.parametrize(("model", "name"), [("mois_tiny", "mois-tiny"), ("slm_tiny", "slm-tiny")])
def test_synthetic_weights_have_the_published_totals(model, name):
    expected = SPOT_VALUES[model]
    network = lively(preset(name), expected["salt"], expected["obj_score_bias"])
    values = [value.double() for value in network.state_dict().values()]

    assert sum(float(v.sum()) for v in values) == pytest.approx(expected["total_sum"], rel=1e-6)
    squares = sum(float(v.square().sum()) for v in values)
    assert squares == pytest.approx(expected["total_sumsq"], rel=1e-6)


# ---- any size, any width -----------------------------------------------------------------------


@st.composite
def configs(draw):
    memory_width = draw(st.sampled_from([4, 8, 12, 16, 20]))
    map_widths = [w for w in (16, 32, 48, 80, 96) if w % memory_width == 0]
    heads = draw(st.sampled_from([1, 2, 3]))
    stages = tuple(draw(st.integers(1, 2)) for _ in range(4))
    windows = tuple(draw(st.sampled_from([2, 4, 6])) for _ in range(2))
    kind = draw(st.sampled_from(["sam", "mois", "slm"]))
    hiera = EncoderConfig(
        width=heads * draw(st.integers(4, 9)),
        heads=heads,
        stages=stages,
        global_blocks=(draw(st.integers(0, sum(stages) - 1)),),
        windows=(8, *windows, draw(st.integers(2, 5))),
        position_grid=draw(st.integers(2, 7)),
    )
    widths = tuple(draw(st.integers(2, 24)) for _ in range(4))
    return NetworkConfig(
        draw(st.sampled_from([hiera, ConvEncoderConfig(widths, blocks=stages)])),
        image_size=tuple(32 * draw(st.integers(1, 5)) for _ in range(2)),
        width=draw(st.sampled_from(map_widths or [memory_width * 16])),
        memory_width=memory_width,
        attention_layers=draw(st.integers(1, 2)),
        attention_hidden=32,
        decoder_hidden=32,
        iou_hidden=16,
        memories=draw(st.integers(2, 7)),
        exemplars=ExemplarConfig() if kind == "mois" else None,
        short_memory=ShortMemoryConfig() if kind == "slm" else None,
    )


@settings(max_examples=60, deadline=None, derandomize=True)
@given(configs())
@torch.no_grad()
def test_any_size_and_width_is_built_and_runs(config):
    network = build(config).eval()
    width, (rows, columns), low = config.width, config.map_size, config.low_res_size

    features = network.encode(some_slices(2, config.image_size))
    first, second = features[:1], features[1:]
    assert features.coarse.shape == (2, width, rows, columns)
    assert features.middle.shape == (2, width // 4, 2 * rows, 2 * columns)
    assert features.fine.shape == (2, width // 8, *low)

    click = Prompts(
        torch.tensor([[[config.image_size[1] / 3, config.image_size[0] / 3]]]), torch.ones(1, 1)
    )
    clicked = network.decode(first, network.without_memory(first), click)
    memory = network.remember(first, clicked.logits, clicked.score, from_clicks=True)
    assert clicked.logits.shape == (1, 1, *low)
    assert memory.shape == (1, config.memory_width, rows, columns)

    keys = network.memory_keys([(config.memories - 1, memory)], [(1, clicked.pointer)], 2)
    seen = network.attend_to_memory(network.memory_query(second), keys)
    if isinstance(network, SlmSam2):
        keys = network.short_keys([(0, memory)], [(1, clicked.pointer)], 2)
        seen = network.fuse(network.attend_to_short(network.short_query(second), keys), seen)
    propagated = [network.decode(second, seen)]
    if isinstance(network, MoisSam2):
        query = network.exemplar_query(second)
        view = ExemplarView(0, True, memory[0], clicked.pointer[0])
        for found in (
            network.attend_to_exemplars(query, network.exemplar_keys([view]), [1]),
            network.attend_to_nothing(query),
        ):
            propagated.append(network.decode_search(second, found))
    for decoded in propagated:
        assert decoded.logits.shape == (1, 1, *low)
        assert decoded.logits.isfinite().all()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"image_size": (128, 100)}, "multiples of 32; 100 columns are not"),
        ({"image_size": (0, 128)}, "multiples of 32; 0 rows are not"),
        ({"image_size": (-32, 128)}, "multiples of 32; -32 rows are not"),
        ({"image_size": 128}, "two whole numbers, rows and columns, not 128"),
        ({"image_size": (128,)}, r"two whole numbers, rows and columns, not \(128,\)"),
        ({"image_size": (128.0, 64)}, r"two whole numbers, rows and columns, not \(128.0, 64\)"),
        (
            {"encoder": replace(HIERA_TINY, windows=(6, 4, 6, 3))},
            "multiples of 24 for this encoder",
        ),
        ({"width": 40}, "width must be a multiple of 16, not 40"),
        ({"width": 96, "memory_width": 36}, "multiple of memory_width"),
        ({"memory_width": 2}, "memory_width must be a multiple of 4, not 2"),
        ({"exemplars": ExemplarConfig(), "short_memory": ShortMemoryConfig()}, "not both"),
        ({"exemplars": ExemplarConfig(no_exemplar_tokens=100)}, "multiple of the map's positions"),
    ],
)
def test_a_network_that_cannot_be_built_says_why(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(SAM, **change)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [({"windows": (7, 4, 14, 7)}, "must be even"), ({"heads": 3}, "16 cannot be split among 3")],
)
def test_an_encoder_that_cannot_be_built_says_why(change, complaint):
    with pytest.raises(ValueError, match=complaint):
        replace(SAM.encoder, **change)


@pytest.mark.parametrize(
    ("widths", "blocks", "complaint"),
    [
        ((8, 8, 8), (1, 1, 1, 1), "widths of the encoder must be four numbers from 2 on"),
        ((1, 8, 8, 8), (1, 1, 1, 1), "widths of the encoder must be four numbers from 2 on"),
        ((8, 8, 8, 8), (1, 0, 1, 1), "blocks of the encoder must be four numbers from 1 on"),
    ],
)
def test_an_encoder_of_convolutions_that_cannot_be_built_says_why(widths, blocks, complaint):
    with pytest.raises(ValueError, match=complaint):
        ConvEncoderConfig(widths, blocks)


def test_a_change_that_makes_no_network_is_bad_input():
    with pytest.raises(BadInput, match="changes: image_size must be two whole numbers"):
        with_changes(CONVOLVED, {"image_size": 512})
    with pytest.raises(BadInput, match="changes: blocks of the encoder"):
        with_changes(CONVOLVED, {"encoder": {"blocks": [1, 2]}})
    changed = with_changes(CONVOLVED, {"image_size": [128, 64]})
    assert changed.image_size == (128, 64)


def test_a_config_cannot_be_changed():
    with pytest.raises(AttributeError):
        preset("phantom").width = 128
    with pytest.raises(TypeError):
        PRESETS["mine"] = SAM
    with pytest.raises(BadInput):
        preset("mine")


# ---- variants ----------------------------------------------------------------------------------


def two_exemplars(config, slices=(2, 5)):
    generator = torch.Generator().manual_seed(0)
    return [
        ExemplarView(
            slice_index,
            index == 0,
            torch.randn(config.memory_width, *config.map_size, generator=generator),
            torch.randn(config.width, generator=generator),
        )
        for index, slice_index in enumerate(slices)
    ]


@torch.no_grad()
def searched(network, slice_index=3, exemplars=None):
    features = network.encode(some_slices(1, network.config.image_size))
    views = two_exemplars(network.config) if exemplars is None else exemplars
    query = network.exemplar_query(features)
    return network.attend_to_exemplars(query, network.exemplar_keys(views), [slice_index])


def variant(**changes):
    return replace(MOIS, exemplars=ExemplarConfig(**changes))


def test_shared_attention_has_no_weights_of_its_own():
    shared, dedicated = (as_shape_only(variant(attention=a)) for a in ("shared", "dedicated"))

    missing = dedicated.state_dict().keys() - shared.state_dict().keys()

    assert missing
    assert all(key.startswith("exemplar_attention.") for key in missing)


def test_shared_attention_is_the_memory_attention_used_again():
    shared = lively(variant(attention="shared"))
    copied = build(MOIS).eval()
    state = copied.state_dict() | shared.state_dict()
    twins = {k: k.replace("exemplar", "memory", 1) for k in state if "exemplar_attention." in k}
    copied.load_state_dict(state | {key: state[twin] for key, twin in twins.items()})

    assert torch.equal(searched(shared), searched(copied))
    assert relative_rms(searched(shared), searched(lively(MOIS))) > 0.1


def test_pointers_tell_how_far_the_exemplar_is():
    network = lively(MOIS)

    assert relative_rms(searched(network, 3), searched(network, 4)) > 1e-3


def test_unplaced_pointers_count_but_their_distance_does_not():
    network = lively(variant(pointers="unplaced"))
    views = two_exemplars(MOIS)
    others = [replace(view, pointer=-view.pointer) for view in views]

    assert torch.equal(searched(network, 3), searched(network, 40))
    assert relative_rms(searched(network, 3, others), searched(network, 3, views)) > 1e-3


def test_without_pointers_only_the_maps_count():
    network = lively(variant(pointers="none"))
    views = two_exemplars(MOIS)
    others = [replace(view, pointer=-view.pointer, slice=view.slice + 7) for view in views]

    assert torch.equal(searched(network, 3, others), searched(network, 9, views))


def test_prompted_exemplars_are_told_from_propagated_ones():
    network = lively(MOIS)
    views = two_exemplars(MOIS)
    others = [replace(view, is_prompted=not view.is_prompted) for view in views]

    assert relative_rms(searched(network, 3, others), searched(network, 3, views)) > 1e-3


@pytest.mark.parametrize("name", ["mois-tiny", "mois-sam2-b+"])
def test_the_published_bank_of_no_exemplars_has_a_fixed_length(name):
    assert preset(name).no_exemplar_tokens == 4096


@pytest.mark.parametrize(("size", "places"), [((64, 64), 16), ((96, 96), 36), ((384, 96), 144)])
def test_elsewhere_that_bank_is_as_long_as_the_map(size, places):
    config = replace(MOIS, image_size=size)

    assert config.no_exemplar_tokens == places
    assert as_shape_only(config).no_exemplar_embed.shape[0] == places


def test_a_network_has_only_the_parts_that_its_config_names():
    sam, mois, slm = ({n for n, _ in as_shape_only(c).named_children()} for c in (SAM, MOIS, SLM))

    assert sam < mois
    assert sam < slm
    assert mois - sam == {"exemplar_attention", "exemplar_obj_ptr_proj"}
    assert slm - sam == {"recent_memory_attention", "recent_memory_fuser"}


def test_slices_are_normalised_as_the_model_was_trained():
    network = lively(replace(SAM, pixel_mean=(0.4, 0.5, 0.6), pixel_std=(0.2, 0.3, 0.4)))
    plain = lively(SAM)
    grey = some_slices(1, SAM.image_size)
    mean, std = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.3, 0.4])
    by_hand = (grey.expand(-1, 3, -1, -1) - mean[:, None, None]) / std[:, None, None]

    with torch.no_grad():
        ours, theirs = network.encode(grey), plain.encode(by_hand)

    assert_same(ours.coarse, theirs.coarse)
    assert_same(ours.fine, theirs.fine)
