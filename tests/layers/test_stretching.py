import torch

from nucdet.layers.stretching import stretch


def test_the_own_range_becomes_0_to_1_of_each_image():
    faint = torch.tensor([[10.0, 10, 10], [10, 15, 30]])
    strong = 10 * faint
    expected = torch.tensor([[0.0, 0, 0], [0, 0.25, 1]])
    found = stretch(torch.stack([faint, strong])[:, None])
    torch.testing.assert_close(found, expected.expand(2, 1, 2, 3))


def test_bright_grounds_become_dark():
    image = torch.tensor([[[200, 200, 200], [200, 150, 100]]], dtype=torch.uint8)
    expected = torch.tensor([[[0.0, 0, 0], [0, 0.5, 1]]])
    torch.testing.assert_close(stretch(image), expected)


def test_a_constant_image_becomes_0():
    for value in (0, 7, 255):
        assert not stretch(torch.full((1, 4, 4), value, dtype=torch.uint8)).any()
