import runpy
from pathlib import Path

EXAMPLES = Path(__file__).parents[1] / "examples"


def test_one_cycle(capsys):
    main = runpy.run_path(str(EXAMPLES / "one_cycle.py"))["main"]
    c = main(epochs=2, width=2)
    printed = capsys.readouterr().out
    assert -1 <= c <= 1
    assert f"C = {c:+.3f}" in printed
    assert "accuracy on the sub-pool, with 100 labels: " in printed
    assert {path.name for path in EXAMPLES.glob("*.py")} == {"one_cycle.py"}  # each is run here
