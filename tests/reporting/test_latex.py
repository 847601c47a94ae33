"""The LaTeX table: its cells, and that every special character is escaped."""

import re

from perceptbench.reporting import latex


def test_a_booktabs_table_of_known_content(run):
    lines = latex.table(run).splitlines()
    assert lines[1] == r"\begin{tabular}{@{}rlrrlll@{}}"
    assert [line for line in lines if line.startswith((r"\top", r"\mid", r"\bottom"))] == [
        r"\toprule", r"\midrule", r"\midrule", r"\bottomrule",
    ]  # fmt: skip
    head = next(line for line in lines if "multicolumn" in line)
    assert r"\multicolumn{2}{l}{ratings} & \multicolumn{1}{l}{choices}" in head
    assert r"\cmidrule(lr){5-6} \cmidrule(lr){7-7}" in lines
    assert r"srcc & stress $\downarrow$ & 2afc" in latex.table(run)
    good = next(line for line in lines if " good " in line)
    assert good.startswith(
        r"1 & good & 1.00 & 1 & \textbf{1.000}\ensuremath{^{\circ}} & \textbf{0.000}\ensuremath"
    )
    assert r"\textbf{0.825}\ensuremath{^{\circ}} {\scriptsize$[0." in good
    fair = next(line for line in lines if " fair " in line)
    assert fair.startswith("2 & fair & -- & 2--3 & ") and r"\dag}} {\scriptsize$[" in fair
    bad = next(line for line in lines if " bad " in line)
    assert " -- & -- & 0.175" in bad
    assert r" & \emph{human} & " in latex.table(run) and r" & $n$ &  &  & 24 & 24 & 24 \\" in lines
    ampersands = {
        line.count("&") for line in lines if line.endswith(r"\\") and "multicolumn" not in line
    }
    assert ampersands == {6}


def test_every_special_character_is_escaped(nasty_run):
    text = latex.table(nasty_run)
    name = latex.escape("<a>|_`$%&\"'\\#{}~^")
    assert name == (
        r"\textless{}a\textgreater{}\textbar{}\_`\$\%\&\symbol{34}'\textbackslash{}"
        r"\#\{\}\textasciitilde{}\textasciicircum{}"
    )
    assert not re.search(r"(?<!\\)%", text.split("\n", 1)[1])
    assert not re.search(r"[<>|\"]", text)
