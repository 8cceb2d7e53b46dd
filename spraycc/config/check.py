"""Checks one value against its setting's type, with pydantic. Imported only if there is a value to check."""

from __future__ import annotations

import functools
import math
import shlex
import typing
from typing import Any

from pydantic import TypeAdapter, ValidationError

from spraycc.config.keys import allowed, core_type, form, hints, none_word
from spraycc.config.sources import Given
from spraycc.errors import ConfigError
from spraycc.notices import configuration


def checked(key: str, given: Given) -> Any:
    """The value of ``key`` in its type.

    Raises:
        ConfigError: the value is not allowed; the text names the source, the key, the value and the allowed values.
    """
    value = given.value
    if isinstance(value, str) and value == none_word(key):
        return None
    is_tuple = typing.get_origin(core_type(key)) is tuple
    try:
        if is_tuple and given.textual:
            value = tuple(shlex.split(value))
        elif is_tuple and isinstance(value, list):
            value = tuple(value)
        # Strict for TOML, which has types: "4" is no integer. A text of the environment or a flag stands for a value.
        if given.textual and not is_tuple:
            result = _adapter(key).validate_strings(value)
        else:
            result = _adapter(key).validate_python(value, strict=True)
        if (known := form(key)) is not None and not known.fits(result):
            raise ValueError
    except (ValidationError, ValueError):
        result = math.nan
    if isinstance(result, float) and not math.isfinite(result):
        raise ConfigError(
            configuration.WRONG_VALUE.text(source=given.origin, value=_shown(key, given), allowed=allowed(key))
        ) from None
    return result


def _shown(key: str, given: Given) -> str:
    text = repr(given.value) if not isinstance(given.value, bool) else str(given.value).lower()
    # The name of a variable or a flag contains the key.
    return text if given.textual else f"{key} = {text}"


@functools.cache
def _adapter(key: str) -> TypeAdapter[Any]:
    return TypeAdapter(hints()[key])
