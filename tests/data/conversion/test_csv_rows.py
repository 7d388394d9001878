from nucdet.data.conversion.csv_rows import read_rows


def test_a_csv_field_longer_than_pythons_limit(tmp_path):
    path, code = tmp_path / "solution.csv", "1 1 " * 50_000
    path.write_text(f"a,b\nx,{code}\n")
    assert [row["b"] for _, row in read_rows(path, ("a", "b"))] == [code]
