"""Tables of text: what is read as names, numbers and labels, and the line and column of everything else."""

import re

import numpy as np
import pytest

from funcnn import data

PETS = "age,kind,weight\n3,cat,4.5\n5,dog,20\n1,cat,1e0\n"


@pytest.fixture
def table(tmp_path):
    def write(content):
        path = tmp_path / "pets.csv"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    "content",
    [
        PETS, PETS.replace(",", ";"), PETS.replace(",", "\t"), PETS.replace("\n", "\r\n\r\n"), "\ufeff" + PETS,
        PETS.encode("utf-16"), PETS.replace(",", " , "), PETS.replace("cat", '"cat"'),
    ],
)  # fmt: skip
def test_a_table(table, content):
    found = data.open(table(content), target="kind")
    assert found.x.tolist() == [[3, 4.5], [5, 20], [1, 1]] and found.x.dtype == np.float64
    assert found.labels.tolist() == [0, 1, 0] and found.classes == ["cat", "dog"]
    assert found.features == ["age", "weight"] and found.target == "kind"


def test_the_last_column_is_the_label_and_whole_numbers_are_in_their_order(table):
    found = data.open(table("a,b,y\n1,2,10\n3,4,9\n5,6,10.0\n"))
    assert found.classes == ["9", "10"] and found.labels.tolist() == [1, 0, 1] and found.target == "y"


def test_columns_without_names_are_numbered(table):
    found = data.open(table("5.1,3.5,a\n4.9,3,b\n"))
    assert found.features == ["column 1", "column 2"] and found.target == "column 3" and len(found.x) == 2


def test_columns_go_by_their_names(table):
    path = table("weight,id,kind,age\n4.5,77,cat,3\n")
    found = data.open(path, target="kind", features=["age", "weight"], min_classes=1)
    assert found.x.tolist() == [[3, 4.5]] and found.classes == ["cat"]
    assert data.open_array(path, features=["age", "weight"]).tolist() == [[3, 4.5]]
    with pytest.raises(ValueError, match="has no column size, kilos; its columns are weight, id, kind, age"):
        data.open_array(path, features=["size", "age", "kilos"])
    with pytest.raises(ValueError, match="has no column colour for the labels"):
        data.open(path, target="colour", features=["age"])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a,b,y\n1,2,u\n1,,u\n", " line 3, column b: the value is missing"),
        ("a,b,y\n1,NA,u\n", " line 2, column b: the value is missing (NA)"),
        ("a,b,y\n1,2,u\n1,2,\n", " line 3, column y: the label is missing"),
        ("a,b,y\n1,2,nan\n", " line 2, column y: the label is missing"),
        ("a,b,y\n1,red,u\n", " line 2, column b: 'red' is not a finite number"),
        ("a,b,y\n1,1e999,u\n", " line 2, column b: '1e999' is not a finite number"),
        ("a;b;y\n1,5;2;u\n", " line 2, column a: '1,5' is not a finite number; write numbers like 1234.5"),
        (
            "a,b,y\n1,True,u\n",
            " line 2, column b: 'True' is not a finite number; write numbers like 1234.5, yes and no",
        ),
        (f"a,b,y\n1,{2**60 + 1},u\n", f" line 2, column b: '{2**60 + 1}' has more digits than float64 holds"),
        (
            "a,b,y\n" + "".join(f"{i},2,{1000 + i}\n" for i in range(30)),
            ": the labels are 30 different numbers, from 1000",
        ),
        ('a,"b\nc",y\n1,2,u\n1,x,u\n', " line 4, column b c: 'x' is not"),
        ("a,b,y\n1,2\n", " line 2: has 2 fields, and line 1 has 3"),
        ("a,a,y\n1,2,u\n", " line 1: columns 1 and 2 are both called a"),
        (",a,y\n1,2,u\n", " line 1: column 1 has no name"),
        ("0,1,2\n3,4,5\n", " line 1: are 0, 1, 2 names or numbers?"),
        ("a,b,y\n1,2,0.5\n", " line 2, column y: labels must be whole numbers or names, got 0.5"),
        ('a,b,y\n"1,2,u\n', " line 2: unexpected end of data"),
        ("a,b,y\n1,2,é\n".encode("latin-1"), " line 2: is not in UTF-8"),
        ("a,b,y\n1,2,u\0\n", " line 2: has a NUL character"),
        ("a,b,y\n1,2," + "u" * 200_000, " line 2: field larger than field limit"),
        ("a,b,y\n", ": has names of columns and no rows"),
        ("\n", ": has no lines"),
        ("abc\n1\n", ": needs a column of numbers beside the labels, abc"),
    ],
)
def test_what_is_wrong_is_named_by_line_and_column(table, content, message):
    with pytest.raises(ValueError, match=rf"pets\.csv{re.escape(message)}") as caught:
        data.open(table(content))
    assert "\n" not in str(caught.value)


def test_many_columns(table):
    names = [f"column{i}" for i in range(30_000)]
    found = data.open(table(",".join([*names, "y"]) + "\n" + ("1," * len(names) + "u\n") + ("2," * len(names) + "v\n")))
    assert found.x.shape == (2, len(names))
    with pytest.raises(ValueError, match=r"has no column z; its columns are column0, .*, column9, \.\.\. \(30001\)"):
        data.open(table(",".join([*names, "y"]) + "\n"), target="y", features=["z"])
