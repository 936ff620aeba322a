namespace Functional;

/// <summary>How many threads compute. Results do not depend on it.</summary>
public static class Threads
{
    /// <summary>Threads in use, the caller's included; one per core unless told.</summary>
    public static int Count
    {
        get => Kernels.Workers.Count;
        set => Kernels.Workers.Count = value;
    }
}
