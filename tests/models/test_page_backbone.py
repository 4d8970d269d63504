"""timm networks as page backbones: their grids, their weights, and what is refused."""

import pytest
import timm
import torch
from safetensors.torch import save_file

from ecglib.errors import InputError
from ecglib.models.page_backbone import PageBackbone, check_name


@pytest.mark.parametrize(
    ("name", "grid", "dim"),
    [
        ("test_resnet", (4, 6), 96),  # (B, D, h, w)
        ("test_vit", (8, 12), 64),  # (B, 1 + N, D)
        ("swin_tiny_patch4_window7_224", (4, 6), 768),  # (B, h, w, D)
        ("mobilenetv3_small_050", (4, 6), 288),  # its classifier is wider than its map
    ],
)
def test_tokens_of_every_kind_of_network(name, grid, dim):
    backbone = PageBackbone(name, size=(128, 192)).eval()
    with torch.no_grad():
        tokens = backbone(torch.rand(2, 3, 128, 192))
    assert (backbone.grid, backbone.token_dim) == (grid, dim)
    assert tokens.shape == (2, grid[0] * grid[1], dim)


def test_the_cells_are_row_by_row():
    backbone = PageBackbone("test_resnet", size=(128, 192)).eval()
    with torch.no_grad():
        own = backbone.net.forward_features((torch.full((1, 3, 128, 192), 0.3) - backbone.mean) / backbone.std)
        page = torch.full((1, 3, 128, 192), 0.3)
        page[..., :32, 160:] = 1.0  # the last cell of the first row
        moved = (backbone(page) - own.flatten(2).transpose(1, 2)).square().sum(2)[0]  # (N,)
    assert int(moved.argmax()) == 5


def test_width_gives_the_channels_and_the_parameters():
    made = {w: PageBackbone("resnet18", size=(64, 96), width=w) for w in (0.25, 1)}
    count = {w: sum(p.numel() for p in backbone.parameters()) for w, backbone in made.items()}
    assert count == {0.25: 717_216, 1: 11_176_512}
    assert made[0.25].token_dim == 128


def test_weights_from_a_file_are_used_and_named(tmp_path):
    torch.manual_seed(5)
    source = timm.create_model("test_resnet", num_classes=1000)
    save_file(source.state_dict(), tmp_path / "w.safetensors")
    torch.save(source.state_dict(), tmp_path / "w.pth")
    for file in ("w.safetensors", "w.pth"):
        backbone = PageBackbone("test_resnet", size=(64, 96), weights=str(tmp_path / file))
        torch.testing.assert_close(backbone.net.conv1[0].weight, source.conv1[0].weight)
        assert f"pre-trained weights from the file {file} (sha256 " in backbone.origin
    assert "randomly initialised" in PageBackbone("test_resnet", size=(64, 96)).origin


def test_what_is_wrong_with_weights_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    (tmp_path / "damaged.safetensors").write_bytes(b"nonsense")
    (tmp_path / "damaged.pth").write_bytes(b"nonsense")
    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    for weights, said in {
        str(tmp_path / "none.pth"): "There are no weights at",
        "cahce": "cache, download",
        str(tmp_path / "damaged.safetensors"): "cannot be read as plain tensors",
        str(tmp_path / "damaged.pth"): "cannot be read as plain tensors",
        str(tmp_path / "other.safetensors"): "are not those of 'test_resnet'",
        "cache": "are not in this machine's cache",
    }.items():
        with pytest.raises(InputError, match=said):
            PageBackbone("test_resnet", size=(64, 96), weights=weights)


def test_a_pickle_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "made"), "w"))

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(InputError, match="plain tensors"):
        PageBackbone("test_resnet", size=(64, 96), weights=str(tmp_path / "evil.pth"))
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("resnet17", {}, "no network 'resnet17'.*resnet1"),
        ("mobilenetv3_small_050", {"width": 0.5}, "leave the width"),
        ("resnet18", {"width": -1.0}, "must be above 0"),
        ("test_vit", {"size": (20, 30)}, "cannot take pages of 30 x 20"),
    ],
)
def test_bad_input_is_one_sentence(name, options, said):
    with pytest.raises(InputError, match=said):
        PageBackbone(name, **({"size": (64, 96)} | options))


def test_a_name_is_checked_without_making_the_network():
    check_name("resnet18.a1_in1k")
    with pytest.raises(InputError):
        check_name("resnet_18")
