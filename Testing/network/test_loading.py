"""One call gives a network that is ready to run, or one line that says why not."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from small_networks import MOIS, SAM, SLM, lively

from mois_core import load_model
from mois_core.errors import BadInput
from mois_core.network.config import PRESETS, ExemplarConfig
from mois_core.network.image_encoder import NARROWEST_HALF

HALF = torch.bfloat16


def test_loaded_networks_are_ready_to_run():
    network = load_model(MOIS)

    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert network.device.type == "cpu"


def test_half_precision_leaves_prompts_and_decoder_alone():
    wide = replace(MOIS, encoder=replace(MOIS.encoder, width=NARROWEST_HALF))
    network = load_model(wide, dtype=HALF)

    assert network.dtype == HALF
    assert {p.dtype for p in network.image_encoder.parameters()} == {HALF}
    types = {name: p.dtype for name, p in network.named_parameters()}
    for name in (
        "memory_attention.layers.1.self_attn.q_proj.weight",
        "exemplar_attention.layers.0.cross_attn_image.k_proj.weight",
        "memory_encoder.fuser.layers.0.pwconv1.weight",
    ):
        assert types[name] == HALF, name
    for name in ("memory_attention.norm.weight", "memory_encoder.out_proj.weight"):
        assert types[name] == torch.float32, name
    for part in ("sam_prompt_encoder", "sam_mask_decoder", "obj_ptr_proj"):
        assert {p.dtype for p in getattr(network, part).parameters()} == {torch.float32}, part


def test_half_precision_leaves_a_narrow_encoder_alone():
    network = load_model(MOIS, dtype=HALF)

    assert network.image_encoder.dtype == torch.float32
    assert network.dtype == HALF


def test_weights_are_random_without_a_checkpoint():
    first, second = (load_model(SAM).state_dict() for _ in range(2))

    assert not torch.equal(first["no_mem_embed"], second["no_mem_embed"])
    assert all(value.isfinite().all() for value in first.values())


# ---- MOIS-SAM2 from SAM 2.1 --------------------------------------------------------------------


@pytest.fixture
def a_sam2_file(tmp_path):
    torch.save({"model": lively(SAM, salt="a SAM 2.1").state_dict()}, tmp_path / "sam2.pt")
    return tmp_path / "sam2.pt"


def test_sam2_becomes_a_network_with_exemplars(a_sam2_file):
    sam2 = lively(SAM, salt="a SAM 2.1").state_dict()

    state = load_model(MOIS, a_sam2_file, init="sam2").state_dict()

    copied = [key for key in state if key.startswith("exemplar_attention.")]
    assert copied
    for key in copied:
        assert torch.equal(state[key], sam2[key.replace("exemplar", "memory", 1)]), key
    for key, value in sam2.items():
        assert torch.equal(state[key], value), key
    learned = state.keys() - sam2.keys() - set(copied)
    assert learned == {
        "exemplar_obj_ptr_proj.weight",
        "exemplar_obj_ptr_proj.bias",
        "exemplar_type_enc",
        "no_exemplar_embed",
        "no_exemplar_pos_enc",
    }
    assert all(state[key].any() for key in learned)


def test_sam2_becomes_a_network_with_shared_attention(a_sam2_file):
    shared = replace(MOIS, exemplars=ExemplarConfig(attention="shared"))

    state = load_model(shared, a_sam2_file, init="sam2").state_dict()

    assert not any(key.startswith("exemplar_attention.") for key in state)


def test_sam2_without_being_asked_for_does_not_fit(a_sam2_file):
    with pytest.raises(BadInput, match="missing: .*exemplar"):
        load_model(MOIS, a_sam2_file)


def test_an_incomplete_sam2_is_refused(tmp_path):
    state = dict(lively(SAM).state_dict())
    del state["memory_attention.norm.weight"], state["no_mem_embed"]
    torch.save(state, tmp_path / "sam2.pt")

    with pytest.raises(BadInput, match="2 missing: no_mem_embed, memory_attention.norm.weight"):
        load_model(MOIS, tmp_path / "sam2.pt", init="sam2")


@pytest.mark.parametrize("config", [SAM, SLM], ids=["sam", "slm"])
def test_only_networks_with_exemplars_start_from_sam2(a_sam2_file, config):
    with pytest.raises(BadInput, match="needs a model with exemplars"):
        load_model(config, a_sam2_file, init="sam2")


def test_starting_from_sam2_needs_its_file():
    with pytest.raises(BadInput, match=r"needs .* a SAM 2.1 checkpoint"):
        load_model(MOIS, init="sam2")


def test_unknown_starts_are_refused(a_sam2_file):
    with pytest.raises(BadInput, match="'sam2' or nothing, not 'sam1'"):
        load_model(MOIS, a_sam2_file, init="sam1")


# ---- names and devices -------------------------------------------------------------------------


def test_an_unknown_model_lists_the_known_ones():
    with pytest.raises(BadInput, match="no model called 'mois-sam3'") as caught:
        load_model("mois-sam3")

    assert all(name in str(caught.value) for name in PRESETS)


@pytest.mark.parametrize("device", ["xpu", "meta", "cpu:1", "cuda:99"])
def test_a_device_that_is_not_there_lists_the_usable_ones(device):
    with pytest.raises(BadInput, match=f"no device '{device}' on this machine; usable: cpu"):
        load_model(SAM, device=device)


def test_a_word_that_is_no_device_is_refused():
    with pytest.raises(BadInput, match="'gpu' is no device; use cpu, cuda or mps"):
        load_model(SAM, device="gpu")
