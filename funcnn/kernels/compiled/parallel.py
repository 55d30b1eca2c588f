"""Blocks of one routine on several threads, without the interpreter's lock.

A routine divides its work into blocks, which `in_parallel` gives to whichever thread is free: the caller, or one of the
team's workers. Between Python threads a hand-off of the interpreter's lock takes some 70 us, longer than many routines;
a worker that waits in compiled code takes a block within a microsecond. What a block computes does not depend on the
thread that computes it, so the results are the same in every run.

A team is an array of counters. The caller writes what to compute, then how many blocks there are. A thread that takes
the counter of blocks down by one, from above 0, computes a block: the caller the first that is left, a worker the last.
So if blocks are images, a core mostly finds in its cache what it wrote in the call before. The caller returns when all
blocks are counted as done.
A worker that never comes, because its core is busy, costs nothing: then the caller computes all blocks.
"""

from __future__ import annotations

import os
import platform
import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

from funcnn import blas
from funcnn.kernels.compiled.routines import helper, routine
from funcnn.tree import Array

F = TypeVar("F", bound=Callable[..., Any])

# Places in a team's array, those that several threads write in lines of the cache of their own.
_LEFT, _DONE, _BUSY, _AWAKE, _FAILED, _FUNCTION, _ARGUMENTS, _TO_WORKERS, _SKIP, _SKIPPED = (
    0,
    8,
    16,
    24,
    32,
    *range(40, 45),
)
_SIZE = 48
# Turns of a waiting loop, each about a microsecond. A worker that finds nothing for so long goes to sleep ...
_IDLE_TURNS = 4000
# ... and a caller that waits so long for a block, and longer than its own blocks took, skips the team in the next
# calls: another process has taken the worker's core. It skips twice as many each time, and with each call that is not
# late one less.
_LATE = 4_000_000  # ns
_LEAST_SKIPPED, _MOST_SKIPPED = 16, 1024  # calls
ALONE = np.zeros(0, np.int64)  # a team without workers


@intrinsic
def _add(typingctx, team, place, value):  # type: ignore[no-untyped-def]
    """Add to a number of a team, and return what it was before; no other thread reads or writes it meanwhile."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.atomic_rmw("add", _pointer(context, builder, sig, args), args[2], "seq_cst")

    return types.int64(team, types.intp, types.int64), codegen


@intrinsic
def _load(typingctx, team, place):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.load_atomic(_pointer(context, builder, sig, args), "seq_cst", 8)

    return types.int64(team, types.intp), codegen


@intrinsic
def _store(typingctx, team, place, value):  # type: ignore[no-untyped-def]
    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        builder.store_atomic(args[2], _pointer(context, builder, sig, args), "seq_cst", 8)
        return context.get_dummy_value()

    return types.void(team, types.intp, types.int64), codegen


def _pointer(context: Any, builder: Any, sig: Any, args: Any) -> Any:
    return builder.gep(context.make_array(sig.args[0])(context, builder, args[0]).data, [args[1]])


@intrinsic
def _pause(typingctx):  # type: ignore[no-untyped-def]
    """Tell an x86 processor that this is a waiting loop."""
    return types.void(), _calling("llvm.x86.sse2.pause" if platform.machine() in ("x86_64", "AMD64") else None)


@intrinsic
def _yield(typingctx):  # type: ignore[no-untyped-def]
    """Let other threads use the core, if they wait for it."""
    return types.void(), _calling("sched_yield" if os.name == "posix" else None)


def _calling(name: str | None) -> Callable[..., Any]:
    """Return code that calls a function without arguments and ignores its result, if there is one."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        if name:
            kind = ir.FunctionType(ir.VoidType(), [])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), [])
        return context.get_dummy_value()

    return codegen


@intrinsic
def _now(typingctx):  # type: ignore[no-untyped-def]
    """Return the time in ns, of a clock that is never set; 0 where there are no teams."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        integer = ir.IntType(64)
        if os.name != "posix":
            return ir.Constant(integer, 0)
        time_of = cgutils.alloca_once(builder, ir.ArrayType(integer, 2))  # seconds, and ns
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), time_of.type])
        clock = ir.Constant(ir.IntType(32), time.CLOCK_MONOTONIC)
        builder.call(cgutils.get_or_insert_function(builder.module, kind, "clock_gettime"), [clock, time_of])
        seconds, rest = (builder.extract_value(builder.load(time_of), i) for i in range(2))
        return builder.add(builder.mul(seconds, ir.Constant(integer, 10**9)), rest)

    return types.int64(), codegen


@helper
def _wait():  # type: ignore[no-untyped-def]
    """Wait for a turn, in which other threads may use the core."""
    for _ in range(16):
        _pause()
    _yield()


_BLOCK = ir.FunctionType(ir.IntType(64), [cgutils.intp_t] * 3)


@intrinsic
def _address(typingctx, arguments):  # type: ignore[no-untyped-def]
    """Return the address of a tuple, for as long as the function runs that asks for it."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.ptrtoint(cgutils.alloca_once_value(builder, args[0]), cgutils.intp_t)

    return types.intp(arguments), codegen


@intrinsic
def _call(typingctx, function, arguments, thread, block):  # type: ignore[no-untyped-def]
    """Call C code of a block by its address; return 1 if it fails, otherwise 0."""

    def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
        return builder.call(builder.inttoptr(args[0], _BLOCK.as_pointer()), args[1:])

    return types.int64(types.intp, types.intp, types.intp, types.intp), codegen


@routine("int64(int64[::1], intp, intp, int64)")
def _share(team: Any, code: int, address: int, blocks: int) -> int:
    team[_FUNCTION], team[_ARGUMENTS] = code, address
    _store(team, _FAILED, 0)
    _store(team, _DONE, 0)
    _store(team, _TO_WORKERS, blocks)
    _store(team, _LEFT, blocks)
    own, start = 0, _now()
    while True:
        if _add(team, _LEFT, -1) <= 0:
            break
        _add(team, _FAILED, _call(code, address, 0, own))
        own += 1
    waiting = _now()
    while _load(team, _DONE) + own < blocks:
        _wait()
    if _now() - waiting > max(_LATE, waiting - start):
        team[_SKIPPED] = team[_SKIP] = min(2 * team[_SKIPPED], _MOST_SKIPPED)
    elif team[_SKIPPED] > _LEAST_SKIPPED:
        team[_SKIPPED] -= 1
    return _load(team, _FAILED)


@routine("int64(int64[::1], intp, intp, int64)")
def _compute(team: Any, code: int, address: int, blocks: int) -> int:
    """Compute all blocks, with the team if it is free; return how many failed."""
    failed = 0
    alone = len(team) == 0 or blocks < 2
    if not alone and team[_SKIP] > 0:
        team[_SKIP] -= 1
        alone = True
    if alone or _add(team, _BUSY, 1) > 0:
        if not alone:
            _add(team, _BUSY, -1)
        for block in range(blocks):
            failed += _call(code, address, 0, block)
    else:
        failed = _share(team, code, address, blocks)
        _add(team, _BUSY, -1)
    return failed


def in_parallel(function: F) -> Callable[..., None]:
    """Make of ``function(arguments, thread, block)`` one that computes all blocks: ``f(team, arguments, blocks)``.

    Parameters
    ----------
    function : callable
        It computes one block, and writes to nothing that another block reads or writes. ``thread`` is the number of the
        thread that computes it, by which threads have memory of their own.

    Returns
    -------
    callable
        For a `routine`. ``team`` is what `team` returns, ``arguments`` a tuple. Blocks are computed in any order, some
        at the same time.
    """
    compiled = helper(function)

    @intrinsic
    def code_of_block(typingctx, arguments):  # type: ignore[no-untyped-def]
        """Return the address of C code that calls the function, given the arguments' address."""
        kinds = (arguments, types.intp, types.intp)
        call = types.Dispatcher(compiled).get_call_type(typingctx, kinds, {})

        def codegen(context: Any, builder: Any, sig: Any, args: Any) -> Any:
            overload = compiled.overloads[call.args]
            context.add_linking_libs([overload.library])
            code = ir.Function(builder.module, _BLOCK, builder.module.get_unique_name("block"))
            code.linkage = "internal"
            body = ir.IRBuilder(code.append_basic_block())
            values = body.load(body.inttoptr(code.args[0], context.get_value_type(arguments).as_pointer()))
            status, _ = context.call_internal_no_propagate(body, overload.fndesc, call, [values, *code.args[1:]])
            body.ret(body.zext(status.is_error, ir.IntType(64)))
            return builder.ptrtoint(code, cgutils.intp_t)

        return types.intp(arguments), codegen

    @njit(inline="always")  # as a function of its own, it would have to be compiled with all that a block calls
    def all_blocks(team, arguments, blocks):  # type: ignore[no-untyped-def]
        if _compute(team, code_of_block(arguments), _address(arguments), blocks):
            raise ValueError("a block of a compiled kernel failed")

    return all_blocks


@routine("void(int64[::1], intp)")
def _work(team: Any, thread: int) -> None:
    """Compute blocks until there has been none for a while."""
    turns = 0
    while turns < _IDLE_TURNS:
        # the first is a look, which does not take the counter's line of the cache away from the others
        if _load(team, _LEFT) > 0 and _add(team, _LEFT, -1) > 0:
            block = _add(team, _TO_WORKERS, -1) - 1
            _add(team, _FAILED, _call(team[_FUNCTION], team[_ARGUMENTS], thread, block))
            _add(team, _DONE, 1)
            turns = 0
        _wait()
        turns += 1
    _add(team, _AWAKE, -1)


@routine("int64(int64[::1], int64)")
def _count_as_awake(team: Any, workers: int) -> int:
    """Count all workers as awake; return how many were not."""
    asleep = workers - _load(team, _AWAKE)
    if asleep > 0:
        _add(team, _AWAKE, asleep)
    return asleep


class _Team:
    """Worker threads, and the array by which they and the caller share blocks."""

    def __init__(self, workers: int) -> None:
        self.array = np.zeros(_SIZE, np.int64)
        self.array[_SKIPPED] = _LEAST_SKIPPED
        self.calls: queue.SimpleQueue[None] = queue.SimpleQueue()
        self.caller = 0  # the thread that last took it
        with suppress(RuntimeError):  # no more threads can be started: those there are compute all blocks
            for thread in range(1, workers + 1):
                threading.Thread(target=_wait_and_work, args=(self.array, self.calls, thread), daemon=True).start()


def _wait_and_work(array: Array, calls: queue.SimpleQueue[None], thread: int) -> None:
    while True:
        calls.get()
        _work(array, thread)


_TEAMS: dict[int, _Team] = {}  # by the number of workers
_LOCK = threading.Lock()


def team(members: int) -> Array:
    """Return a team of so many threads, the caller among them, and wake the others: an argument of routines."""
    workers = members - 1
    if workers < 1 or os.name != "posix":
        return ALONE
    found = _TEAMS.get(workers)
    if found is None:
        if not blas.can_limit():  # threads of the BLAS would compete with these
            return ALONE
        with _LOCK:
            found = _TEAMS.get(workers) or _TEAMS.setdefault(workers, _Team(workers))
    if found.array[_AWAKE] < workers and not found.array[_SKIP]:
        for _ in range(_count_as_awake(found.array, workers)):
            found.calls.put(None)
    found.caller = threading.get_ident()
    return found.array


def awake_team() -> tuple[Array, int]:
    """Return a team that has just computed for this thread, while its workers wait, and its members; or `ALONE` and 1.

    It is for work that gains only if nobody has to wake them, and that uses cores which are in use anyway.
    """
    for workers, found in list(_TEAMS.items()):
        if found.caller == threading.get_ident() and found.array[_AWAKE] == workers and not found.array[_SKIP]:
            return found.array, workers + 1
    return ALONE, 1


def _after_fork() -> None:
    """Begin anew in a child process, which has no worker threads."""
    global _LOCK
    _LOCK = threading.Lock()
    _TEAMS.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
