"""Vectors of numbers that fill a register, for the compiled loops: what is loaded, summed and stored at once.

The compiler finds such vectors by itself where it can prove that no store meets a load of the same loop, and then it
chooses what stays in registers. The inner loops of the stencils say what they mean:

    p, q = place(array, (j, y)), place(result, (j, y))    # where these rows begin
    s = multiply_add(load(p, x), load(p, x + 1), s)       # of the `lanes_of(array)` numbers from x on; a·b + s
    store(q, x, s)
    stream(q, x, s)                                       # past the caches, for results that they cannot hold

``number``, ``zero`` and ``put`` do the same for one number. Every lane gets the bits that a single number gets:
results do not depend on where a row is cut into vectors. Nothing checks bounds; rows have to be contiguous, and for
`stream` the address a multiple of the vector's size (`aligned`). `fence` makes streamed results visible to others.
"""

from __future__ import annotations

import operator
from typing import Any

from ._memory import LINE
from ._numba import available

if not available:

    def __getattr__(name: str) -> None:
        """Without Numba nothing here is called, but imported."""
        if name.startswith("__"):
            raise AttributeError(name)


else:
    import llvmlite.binding
    from llvmlite import ir
    from numba import types
    from numba.core import cgutils
    from numba.core.typing import signature
    from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable
    from numba.np.arrayobj import make_array

    def _register_bytes() -> int:
        features = llvmlite.binding.get_host_cpu_features()
        return 64 if features.get("avx512f") else 32 if features.get("avx") else 16

    _BYTES = _register_bytes()
    _BYTE, _INT = ir.IntType(8), ir.IntType(32)

    class Vector(types.Type):
        """A vector of `lanes` numbers of one dtype, in a register."""

        def __init__(self, dtype: Any) -> None:
            self.dtype, self.lanes = dtype, _BYTES * 8 // dtype.bitwidth
            super().__init__(name=f"Vector({dtype}, {self.lanes})")

    class Place(types.Type):
        """The address of a number."""

        def __init__(self, dtype: Any) -> None:
            self.dtype = dtype
            super().__init__(name=f"Place({dtype})")

    @register_model(Vector)
    class _VectorModel(models.PrimitiveModel):
        def __init__(self, manager: Any, kind: Vector) -> None:
            number = manager.lookup(kind.dtype).get_value_type()
            super().__init__(manager, kind, ir.VectorType(number, kind.lanes))

    @register_model(Place)
    class _PlaceModel(models.PrimitiveModel):
        def __init__(self, manager: Any, kind: Place) -> None:
            super().__init__(manager, kind, manager.lookup(kind.dtype).get_value_type().as_pointer())

    @intrinsic
    def lanes_of(context, array):  # type: ignore[no-untyped-def]
        """How many numbers of the dtype of an array (or of a place) a vector holds."""
        count = Vector(array.dtype).lanes
        return signature(types.intp, array), lambda c, builder, s, a: ir.Constant(c.get_value_type(types.intp), count)

    @intrinsic
    def place(context, array, index):  # type: ignore[no-untyped-def]
        """The address of array[index] or, where the index names the first axes only, of what begins there."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            value, at = arguments
            indices = cgutils.unpack_tuple(builder, at, len(index)) if isinstance(index, types.BaseTuple) else [at]
            kinds = list(index) if isinstance(index, types.BaseTuple) else [index]
            indices = [c.cast(builder, i, k, types.intp) for i, k in zip(indices, kinds, strict=True)]
            indices += [ir.Constant(ir.IntType(64), 0)] * (array.ndim - len(indices))
            return cgutils.get_item_pointer(c, builder, array, make_array(array)(c, builder, value), indices)

        return signature(Place(array.dtype), array, index), generate

    @intrinsic
    def further(context, place, count):  # type: ignore[no-untyped-def]
        """The place so many numbers further."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            return builder.gep(arguments[0], [c.cast(builder, arguments[1], count, types.intp)])

        return signature(place, place, count), generate

    @intrinsic
    def aligned(context, place):  # type: ignore[no-untyped-def]
        """Whether the address is a multiple of the size of a vector."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            address = builder.ptrtoint(arguments[0], ir.IntType(64))
            return builder.icmp_unsigned("==", builder.and_(address, address.type(_BYTES - 1)), address.type(0))

        return signature(types.boolean, place), generate

    @intrinsic
    def load(context, place, x):  # type: ignore[no-untyped-def]
        """The numbers from place[x] on."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            return builder.load(_address(c, builder, s, arguments), align=place.dtype.bitwidth // 8)

        return signature(Vector(place.dtype), place, x), generate

    @intrinsic
    def number(context, place, x):  # type: ignore[no-untyped-def]
        """The number at place[x]."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            return builder.load(builder.gep(arguments[0], [c.cast(builder, arguments[1], x, types.intp)]))

        return signature(place.dtype, place, x), generate

    @intrinsic
    def put(context, place, x, value):  # type: ignore[no-untyped-def]
        """Put one number at place[x]."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            pointer = builder.gep(arguments[0], [c.cast(builder, arguments[1], x, types.intp)])
            builder.store(c.cast(builder, arguments[2], value, place.dtype), pointer)
            return c.get_dummy_value()

        return signature(types.none, place, x, value), generate

    @intrinsic
    def zero(context, place):  # type: ignore[no-untyped-def]
        """The number 0 in the dtype of the place."""
        return signature(place.dtype, place), lambda c, builder, s, a: c.get_constant_generic(builder, place.dtype, 0)

    @intrinsic
    def store(context, place, x, vector):  # type: ignore[no-untyped-def]
        """Put the vector at place[x] and behind."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            builder.store(arguments[2], _address(c, builder, s, arguments), align=place.dtype.bitwidth // 8)
            return c.get_dummy_value()

        return signature(types.none, place, x, vector), generate

    @intrinsic
    def stream(context, place, x, vector):  # type: ignore[no-untyped-def]
        """Put the vector at place[x] and behind, past the caches."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            written = builder.store(arguments[2], _address(c, builder, s, arguments), align=_BYTES)
            written.set_metadata("nontemporal", builder.module.add_metadata([_INT(1)]))
            return c.get_dummy_value()

        return signature(types.none, place, x, vector), generate

    @intrinsic
    def fence(context):  # type: ignore[no-untyped-def]
        """What was streamed is visible to other threads from here on."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            builder.fence("seq_cst")
            return c.get_dummy_value()

        return signature(types.none), generate

    @intrinsic(prefer_literal=True)
    def prefetch(context, place, x, vectors):  # type: ignore[no-untyped-def]
        """Ask for the lines of so many vectors, a constant, from place[x] on, which may be outside of the array."""
        count = vectors.literal_value

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            first = builder.bitcast(_address(c, builder, s, arguments), _BYTE.as_pointer())
            for byte in range(0, count * _BYTES, LINE):
                asked = [builder.gep(first, [_INT(byte)]), _INT(0), _INT(3), _INT(1)]  # to read, in every cache, data
                _call(builder, "llvm.prefetch", ir.VoidType(), asked, [first.type])
            return c.get_dummy_value()

        return signature(types.none, place, x, vectors), generate

    @intrinsic
    def filled(context, place, number):  # type: ignore[no-untyped-def]
        """A vector of one number, in the dtype of the place (or of an array)."""
        kind = Vector(place.dtype)

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            value = c.cast(builder, arguments[1], number, place.dtype)
            empty = ir.Constant(ir.VectorType(value.type, kind.lanes), ir.Undefined)
            one = builder.insert_element(empty, value, _INT(0))
            return builder.shuffle_vector(one, one, ir.Constant(ir.VectorType(_INT, kind.lanes), None))

        return signature(kind, place, number), generate

    @intrinsic
    def maximum(context, a, b):  # type: ignore[no-untyped-def]
        """The larger one of a and b, lane by lane."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            return builder.select(builder.fcmp_ordered(">", *arguments), *arguments)

        return signature(a, a, b), generate

    @intrinsic
    def multiply_add(context, a, b, total):  # type: ignore[no-untyped-def]
        """a·b + total, of vectors or of numbers."""

        def generate(c, builder, s, arguments):  # type: ignore[no-untyped-def]
            return _call(builder, "llvm.fmuladd", arguments[0].type, arguments, [arguments[0].type])

        return signature(a, a, b, total), generate

    for symbol, instruction in (
        (operator.add, "fadd"),
        (operator.sub, "fsub"),
        (operator.mul, "fmul"),
        (operator.truediv, "fdiv"),
    ):

        @type_callable(symbol)
        def _type(context):  # type: ignore[no-untyped-def]
            return lambda a, b: a if isinstance(a, Vector) and a == b else None

        @lower_builtin(symbol, Vector, Vector)
        def _lower(context, builder, s, arguments, instruction=instruction):  # type: ignore[no-untyped-def]
            return getattr(builder, instruction)(*arguments)

    def _address(context: Any, builder: Any, s: Any, arguments: Any) -> Any:
        kind, x = s.args[:2]
        pointer = builder.gep(arguments[0], [context.cast(builder, arguments[1], x, types.intp)])
        return builder.bitcast(pointer, context.get_value_type(Vector(kind.dtype)).as_pointer())

    def _call(builder: Any, name: str, returns: Any, arguments: Any, kinds: list[Any]) -> Any:
        """Call an intrinsic function of LLVM, overloaded for the `kinds`: vectors are v16f32, addresses p0."""
        suffix = "".join(
            ".p0"
            if isinstance(k, ir.PointerType)
            else f".v{k.count}{k.element.intrinsic_name}"
            if isinstance(k, ir.VectorType)
            else f".{k.intrinsic_name}"
            for k in kinds
        )
        function = ir.FunctionType(returns, [a.type for a in arguments])
        return builder.call(builder.module.declare_intrinsic(f"{name}{suffix}", (), function), arguments)
