"""Numbers go between their markers, and nowhere else."""

import pytest

from ldm_edu.readme import write_block

PAGE = "before\n<!-- demo:begin -->\nold\n<!-- demo:end -->\nafter\n"


def test_only_the_block_changes(tmp_path):
    page = tmp_path / "README.md"
    page.write_text(PAGE, "utf-8")
    write_block(page, "demo", "new\n")
    assert page.read_text("utf-8") == PAGE.replace("old", "new")
    write_block(page, "demo", "new")
    assert page.read_text("utf-8") == PAGE.replace("old", "new")


@pytest.mark.parametrize("text", ["nothing", PAGE + PAGE, "<!-- demo:end -->\n<!-- demo:begin -->\n"])
def test_a_page_without_one_such_block_is_left_alone(tmp_path, text):
    page = tmp_path / "README.md"
    page.write_text(text, "utf-8")
    with pytest.raises(ValueError, match="needs one line <!-- demo:begin -->"):
        write_block(page, "demo", "new")
    assert page.read_text("utf-8") == text


def test_a_missing_page_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"README\.md: no such file"):
        write_block(tmp_path / "README.md", "demo", "new")
