import pytest

from recbole_bd.errors import DataError
from recbole_bd.serving.id_file import read_ids, shortened


def test_users_are_read_one_a_line(tmp_path):
    path = tmp_path / "users.txt"
    path.write_text("\ufeffuser_id:token\n a b \n\nc\na b\n", encoding="utf-8")
    assert read_ids(path, "user_id", "users") == ["a b", "c"]
    path.write_text("c\nuser_id\n")
    assert read_ids(path, "user_id", "users") == ["c", "user_id"]
    path.write_text("user_id\n\n")
    with pytest.raises(DataError, match=r"users\.txt contains no users"):
        read_ids(path, "user_id", "users")
    with pytest.raises(DataError, match=r"gone\.txt cannot be read"):
        read_ids(tmp_path / "gone.txt", "user_id", "users")
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"users\.txt cannot be read"):
        read_ids(path, "user_id", "users")


@pytest.mark.parametrize(
    ("count", "text"), [(0, ""), (1, "u0"), (5, "u0, u1, u2, u3, u4"), (6, "u0, u1, u2, u3, u4, ...")]
)
def test_of_many_names_the_first_are_shown(count, text):
    assert shortened([f"u{number}" for number in range(count)]) == text


def test_a_missing_file_is_told_in_words(tmp_path):
    with pytest.raises(DataError) as error:
        read_ids(tmp_path / "none", "user_id", "users")
    assert str(error.value) == f"users file {tmp_path / 'none'} cannot be read: No such file or directory"
