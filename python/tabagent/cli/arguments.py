"""Texts on the command line, which are UTF-8 in every locale."""

import typer

__all__ = ["argument_text", "text_argument"]


def argument_text(text: str, what: str) -> str:
    """A text as it was typed. Python keeps bytes that the locale cannot decode as lone surrogates; they are taken as UTF-8.

    For texts alone: a path must stay as it is, since the same locale turns it back into its bytes.

    Raises:
        ValueError: it is not UTF-8; names `what` it is.
    """
    if text.isascii():
        return text
    try:
        data = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        message = f"{what} holds a lone surrogate at character {error.start:,}, which is no text; leave it out"
        raise ValueError(message) from error
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        message = f"{what} is not UTF-8 (byte {error.start:,} is 0x{data[error.start]:02x}); set the terminal to UTF-8, or give it in a file"
        raise ValueError(message) from error


def text_argument(text: str) -> str:
    """A text option as typer parses it."""
    try:
        return argument_text(text, "the text")
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
