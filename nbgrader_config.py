"""nbgrader for this course: run its commands from this folder. solutions/README.md tells how.

nbgrader wants a folder for each assignment, so this file lays the sources out that way under .nbgrader/source when it
is read; solutions/ stays the one place to edit. Submissions are expected in .nbgrader/submitted/STUDENT/NAME/.
"""

import shutil
from pathlib import Path

root = Path(__file__).resolve().parent
for path in sorted((root / "solutions").glob("[0-9][0-9]_*.ipynb")):
    copy = root / ".nbgrader" / "source" / path.stem / path.name
    if not copy.exists() or copy.read_bytes() != path.read_bytes():
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)

c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "ldm_edu"
c.CourseDirectory.root = str(root)
c.CourseDirectory.db_url = f"sqlite:///{root / '.nbgrader' / 'gradebook.db'}"
for step in ("source", "release", "submitted", "autograded", "feedback", "solution"):
    setattr(c.CourseDirectory, f"{step}_directory", f".nbgrader/{step}")

# Submissions are run in a process of their own and judged outside it, with limits of time and memory.
c.Autograde.autograde_preprocessors = [
    "ldm_edu.grading.autograde.mark_cells",
    "nbgrader.preprocessors.LimitOutput",
    "nbgrader.preprocessors.SaveAutoGrades",
    "nbgrader.preprocessors.AssignLatePenalties",
    "nbgrader.preprocessors.CheckCellMetadata",
]
