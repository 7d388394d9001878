"""benchmarks/published_limits.py: what a network without mistakes scores through each system."""

from __future__ import annotations

import sys


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
