"""Forms with files: the parts of a `multipart/form-data` body (RFC 7578)."""

from __future__ import annotations

from collections import defaultdict

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import Field, File, FormParser, parse_options_header

from cuecard.serving.protocol.errors import APIError, bad_request

Part = str | bytes
"""A text, or a file's content."""


def read_form(content_type: str, body: bytes, most: int) -> dict[str, list[Part]]:
    """The parts of a form by name, in order; in memory, nothing goes to a file.

    Args:
        content_type: the header, which has the boundary.
        most: how many parts it may have.

    Raises:
        APIError: not a whole form, too many parts, or a text that is not UTF-8.
    """
    parts: defaultdict[str, list[Part]] = defaultdict(list)

    def add(name: bytes | None, part: Part) -> None:
        if sum(map(len, parts.values())) >= most:
            message = f"The form has more than {most} parts."
            raise APIError(413, "batch_too_large", message)
        parts[_text(name or b"", "a part's name")].append(part)

    def on_field(field: Field) -> None:
        add(field.field_name, _text(field.value or b"", "a text in it"))

    def on_file(file: File) -> None:
        file.file_object.seek(0)
        add(file.field_name, file.file_object.read())

    _, options = parse_options_header(content_type)
    boundary = options.get(b"boundary")
    if not boundary:
        raise _invalid("its Content-Type has no boundary")
    # Part of what is received, which is bounded already.
    config = {"MAX_MEMORY_FILE_SIZE": len(body) + 1}
    try:
        parser = FormParser(
            "multipart/form-data", on_field, on_file, boundary=boundary, config=config
        )
        parser.write(body)
        parser.finalize()
    except FormParserError:
        raise _invalid("its parts cannot be told apart") from None
    if b"--" + boundary + b"--" not in body:
        raise _invalid("its end is missing")
    return dict(parts)


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise _invalid(f"{what} is not UTF-8") from None


def _invalid(why: str) -> APIError:
    return bad_request(f"The request body is not a valid form: {why}.", None, "invalid_form")
