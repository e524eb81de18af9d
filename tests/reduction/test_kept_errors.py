"""An error that a client keeps does not keep what was seen when it was raised."""

import gc
import weakref

import pytest

from dask_exa.reduction._errors import errors_let_go


class Seen:
    """Something that a frame holds, such as a step of a running simulation."""


def test_what_the_frames_of_a_kept_error_hold_is_free_at_once():
    kept = KeyError("chunk", 3)  # as a client does while there are futures of the task
    kept.add_note("It was raised in step 7.")
    watched = []

    def fail():
        seen = Seen()
        watched.append(weakref.ref(seen))
        with errors_let_go():
            raise kept

    gc.disable()
    try:
        with pytest.raises(KeyError) as caught:
            fail()
        assert caught.value is not kept
        assert caught.value.args == ("chunk", 3)
        assert caught.value.__notes__ == ["It was raised in step 7."]
        assert caught.traceback[-1].name == "fail"
        assert kept.__traceback__ is None
        del caught
        assert watched[0]() is None
    finally:
        gc.enable()
