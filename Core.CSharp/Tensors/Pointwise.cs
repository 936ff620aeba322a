using System.Numerics;
using Functional.Kernels;

namespace Functional;

/// <summary>Elementwise loops over tensors: picks the element type and the walk, then hands pointers to a kernel.
/// Operands and destination may be any views of one shape; a destination must not overlap an input unless it is that very view.</summary>
internal static unsafe class Pointwise
{
    /// <summary>z = x + y</summary>
    internal static void Add(Tensor x, Tensor y, Tensor z) => Map2(x, y, z, accumulate: false, default(AddF));

    /// <summary>y += x</summary>
    internal static void Accumulate(Tensor x, Tensor y) => Map2(y, x, y, accumulate: false, default(AddF));

    // ---- copies ----

    /// <summary>y = x, of one dtype</summary>
    internal static void Copy(Tensor x, Tensor y)
    {
        if (x.Rank > Geometry.MaxRank && !(x.IsContiguous && y.IsContiguous))
        {
            // More axes than a walk has: one walk for every index of the outermost.
            for (var i = 0; i < x.Shape[0]; i++) Copy(Inner(x, i), Inner(y, i));
            return;
        }
        switch (x.DType.Size())
        {
            case 4: Copy<int>(x, y); break;
            case 8: Copy<long>(x, y); break;
            default: Copy<byte>(x, y); break;
        }
    }

    private static void Copy<T>(Tensor x, Tensor y) where T : unmanaged =>
        Loops.Copy(Walk(x, y), x.Pointer<T>(), y.Pointer<T>());

    private static Tensor Inner(Tensor x, int index) => x.View(Shape.Of(x.Shape.Sizes[1..]), x.Strides[1..], x.Offset + index * x.Strides[0]);

    /// <summary>The same elements in row-major order without gaps: the tensor itself, or a copy.</summary>
    internal static Tensor Contiguous(Tensor x)
    {
        if (x.IsContiguous) return x;
        var y = Tensor.Allocate(x.DType, x.Shape);
        Copy(x, y);
        GC.KeepAlive(x);
        return y;
    }

    /// <summary>y = x in y's dtype. Floats are cut towards zero and saturate into integers (NaN gives 0); any non-zero is true.</summary>
    internal static void Convert(Tensor x, Tensor y)
    {
        if (TooDeep(x, y)) x = Contiguous(x);
        switch (x.DType)
        {
            case DType.Float32: Convert<float>(x, y); break;
            case DType.Float64: Convert<double>(x, y); break;
            case DType.Int32: Convert<int>(x, y); break;
            case DType.Int64: Convert<long>(x, y); break;
            default: Convert<byte>(x, y); break;
        }
        GC.KeepAlive(x);
    }

    private static void Convert<T>(Tensor x, Tensor y) where T : unmanaged, INumber<T>
    {
        switch (y.DType)
        {
            case DType.Float32: Convert<T, float>(x, y); break;
            case DType.Float64: Convert<T, double>(x, y); break;
            case DType.Int32: Convert<T, int>(x, y); break;
            case DType.Int64: Convert<T, long>(x, y); break;
            default: Convert<T, byte>(x, y); break;
        }
    }

    private static void Convert<TFrom, TTo>(Tensor x, Tensor y) where TFrom : unmanaged, INumber<TFrom> where TTo : unmanaged, INumber<TTo> =>
        Loops.Convert(Walk(x, y), x.Pointer<TFrom>(), y.Pointer<TTo>());

    // ---- maps ----

    /// <summary>y = f(x), or y += f(x)</summary>
    internal static void Map1<F>(Tensor x, Tensor y, bool accumulate, F f) where F : struct, IMap1
    {
        if (TooDeep(x, y)) x = Contiguous(x);
        switch (y.DType)
        {
            case DType.Float32: Map1<float, F>(x, y, accumulate, f); break;
            case DType.Float64: Map1<double, F>(x, y, accumulate, f); break;
            case DType.Int32: Map1<int, F>(x, y, accumulate, f); break;
            case DType.Int64: Map1<long, F>(x, y, accumulate, f); break;
            default: Map1<byte, F>(x, y, accumulate, f); break;
        }
        GC.KeepAlive(x);
    }

    private static void Map1<T, F>(Tensor x, Tensor y, bool accumulate, F f) where T : unmanaged, INumber<T> where F : struct, IMap1
    {
        if (x.IsContiguous && y.IsContiguous) Loops.Map1((nint)y.Count, x.Pointer<T>(), y.Pointer<T>(), accumulate, f);
        else Loops.Map1(Walk(x, y), x.Pointer<T>(), y.Pointer<T>(), accumulate, f);
    }

    /// <summary>z = f(x, y), or z += f(x, y)</summary>
    internal static void Map2<F>(Tensor x, Tensor y, Tensor z, bool accumulate, F f) where F : struct, IMap2
    {
        if (TooDeep(x, z)) x = Contiguous(x);
        if (TooDeep(y, z)) y = Contiguous(y);
        switch (z.DType)
        {
            case DType.Float32: Map2<float, F>(x, y, z, accumulate, f); break;
            case DType.Float64: Map2<double, F>(x, y, z, accumulate, f); break;
            case DType.Int32: Map2<int, F>(x, y, z, accumulate, f); break;
            case DType.Int64: Map2<long, F>(x, y, z, accumulate, f); break;
            default: Map2<byte, F>(x, y, z, accumulate, f); break;
        }
        GC.KeepAlive(x);
        GC.KeepAlive(y);
    }

    private static void Map2<T, F>(Tensor x, Tensor y, Tensor z, bool accumulate, F f) where T : unmanaged, INumber<T> where F : struct, IMap2
    {
        if (x.IsContiguous && y.IsContiguous && z.IsContiguous)
            Loops.Map2((nint)z.Count, x.Pointer<T>(), y.Pointer<T>(), z.Pointer<T>(), accumulate, f);
        else
            Loops.Map2(Geometry.Of(z.Shape.Sizes, x.Strides, y.Strides, z.Strides), x.Pointer<T>(), y.Pointer<T>(), z.Pointer<T>(), accumulate, f);
    }

    /// <summary>z = f(a, b, c), or z += f(a, b, c), of float tensors</summary>
    internal static void Map3<F>(Tensor a, Tensor b, Tensor c, Tensor z, bool accumulate, F f) where F : struct, IMap3
    {
        if (TooDeep(a, z)) a = Contiguous(a);
        if (TooDeep(b, z)) b = Contiguous(b);
        if (TooDeep(c, z)) c = Contiguous(c);
        if (z.DType == DType.Float32) Map3<float, F>(a, b, c, z, accumulate, f);
        else Map3<double, F>(a, b, c, z, accumulate, f);
        GC.KeepAlive(a);
        GC.KeepAlive(b);
        GC.KeepAlive(c);
    }

    private static void Map3<T, F>(Tensor a, Tensor b, Tensor c, Tensor z, bool accumulate, F f) where T : unmanaged, INumber<T> where F : struct, IMap3
    {
        if (a.IsContiguous && b.IsContiguous && c.IsContiguous && z.IsContiguous)
            Loops.Map3((nint)z.Count, a.Pointer<T>(), b.Pointer<T>(), c.Pointer<T>(), z.Pointer<T>(), accumulate, f);
        else
            Loops.Map3(Geometry.Of(z.Shape.Sizes, a.Strides, b.Strides, c.Strides, z.Strides), a.Pointer<T>(), b.Pointer<T>(), c.Pointer<T>(), z.Pointer<T>(), accumulate, f);
    }

    // ---- booleans ----

    /// <summary>z = f(x, y), a bool per element</summary>
    internal static void Compare<F>(Tensor x, Tensor y, Tensor z, F f) where F : struct, ICompare
    {
        if (TooDeep(x, z)) x = Contiguous(x);
        if (TooDeep(y, z)) y = Contiguous(y);
        switch (x.DType)
        {
            case DType.Float32: Compare<float, F>(x, y, z, f); break;
            case DType.Float64: Compare<double, F>(x, y, z, f); break;
            case DType.Int32: Compare<int, F>(x, y, z, f); break;
            case DType.Int64: Compare<long, F>(x, y, z, f); break;
            default: Compare<byte, F>(x, y, z, f); break;
        }
        GC.KeepAlive(x);
        GC.KeepAlive(y);
    }

    private static void Compare<T, F>(Tensor x, Tensor y, Tensor z, F f) where T : unmanaged, INumber<T> where F : struct, ICompare =>
        Loops.Compare(Geometry.Of(z.Shape.Sizes, x.Strides, y.Strides, z.Strides), x.Pointer<T>(), y.Pointer<T>(), z.Pointer<byte>(), f);

    /// <summary>z = a where the mask is true, else b; or z += …</summary>
    internal static void Select(Tensor mask, Tensor a, Tensor b, Tensor z, bool accumulate)
    {
        if (TooDeep(mask, z)) mask = Contiguous(mask);
        if (TooDeep(a, z)) a = Contiguous(a);
        if (TooDeep(b, z)) b = Contiguous(b);
        switch (z.DType)
        {
            case DType.Float32: Select<float>(mask, a, b, z, accumulate); break;
            case DType.Float64: Select<double>(mask, a, b, z, accumulate); break;
            case DType.Int32: Select<int>(mask, a, b, z, accumulate); break;
            case DType.Int64: Select<long>(mask, a, b, z, accumulate); break;
            default: Select<byte>(mask, a, b, z, accumulate); break;
        }
        GC.KeepAlive(mask);
        GC.KeepAlive(a);
        GC.KeepAlive(b);
    }

    private static void Select<T>(Tensor mask, Tensor a, Tensor b, Tensor z, bool accumulate) where T : unmanaged, INumber<T> =>
        Loops.Select(Geometry.Of(z.Shape.Sizes, mask.Strides, a.Strides, b.Strides, z.Strides), mask.Pointer<byte>(), a.Pointer<T>(), b.Pointer<T>(), z.Pointer<T>(), accumulate);

    // A walk has no more axes than this; strided inputs with more are copied first.
    private static bool TooDeep(Tensor x, Tensor destination) => destination.Rank > Geometry.MaxRank && !x.IsContiguous;

    private static Geometry Walk(Tensor x, Tensor y) =>
        x.IsContiguous && y.IsContiguous ? Geometry.Flat((nint)y.Count) : Geometry.Of(y.Shape.Sizes, x.Strides, y.Strides);
}
