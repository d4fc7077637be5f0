"""The answers of all notebooks, by the notebook's number."""

from answers import nb01, nb02, nb03, nb04, nb05, nb06, nb07, nb08, nb09, nb10

ANSWERS = {
    "01": nb01.ANSWERS,
    "02": nb02.ANSWERS,
    "03": nb03.ANSWERS,
    "04": nb04.ANSWERS,
    "05": nb05.ANSWERS,
    "06": nb06.ANSWERS,
    "07": nb07.ANSWERS,
    "08": nb08.ANSWERS,
    "09": nb09.ANSWERS,
    "10": nb10.ANSWERS,
}
