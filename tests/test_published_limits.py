"""benchmarks/published_limits.py: what a network without mistakes scores through each system."""

from __future__ import annotations

import sys

import torch


def test_the_limits_of_a_design_stand_in_a_table(load_benchmark, registered, monkeypatch, capsys):
    benchmark = load_benchmark("published_limits")
    monkeypatch.setattr(benchmark, "SYSTEMS", ("linknet_2",))
    monkeypatch.setattr(sys, "argv", ["published_limits.py", "--dataset", "synthetic_val"])
    benchmark.main()
    head, _, shares, hard = capsys.readouterr().out.splitlines()
    assert head.startswith("| no mistakes of | output | mAP | at IoU 0.5 |")
    limits = [float(row.split("|")[4]) for row in (shares, hard)]
    # nuclei that touch are one, and all others are found
    assert all(40 < limit <= 100 for limit in limits)
    assert "linknet_2" in shares and "yes or no" in hard


def test_scores_at_an_eighth_of_the_size_are_fitted(load_benchmark):
    benchmark = load_benchmark("published_limits")
    cfg = benchmark.load_config(benchmark.CONFIGS / "fcn8s_VGG16.yaml")
    foreground = torch.zeros(50, 70)
    foreground[8:40, 10:50] = 1
    foreground[44:47, 60:63] = 1  # much smaller than a score
    found = benchmark.fitted_maps(cfg, foreground)
    assert found.shape == (1, 50, 70)
    found = found[0] > 0.5
    block = foreground[:42, :55] > 0.5
    overlap = (found[:42, :55] & block).sum() / (found[:42, :55] | block).sum()
    assert 0.95 < overlap < 1  # four corners are too sharp
    speck = foreground[42:, 55:] > 0.5
    assert (found[42:, 55:] & speck).sum() / (found[42:, 55:] | speck).sum() < 0.8
    # an image without nuclei
    assert benchmark.fitted_maps(cfg, torch.zeros(40, 40)).max() < 0.01
