namespace Functional

open System

/// The learning rate as a function of the step, counted from 0. A plain number stands for a constant rate wherever a schedule is
/// asked for; any other function becomes one with `Schedule(fun step -> …)`.
[<Sealed>]
type Schedule(rate: int -> float) =

    static let positive what n =
        if n < 1 then
            invalidArg what $"schedule: {what} must be at least 1; got {n}. Give a positive number."

    /// The rate of a step.
    member _.At(step: int) = rate step

    static member op_Implicit(rate: float) = Schedule(fun _ -> rate)

    /// rate
    static member constant(rate: float) = Schedule(fun _ -> rate)

    /// rate·factor^⌊t/every⌋: drops once every so many steps.
    static member step (rate: float) (every: int) (factor: float) =
        positive (nameof every) every
        Schedule(fun t -> rate * Math.Pow(factor, float (t / every)))

    /// rate·factor^k, where k counts the milestones reached: steps from which on the rate drops.
    static member multiStep (rate: float) (milestones: int list) (factor: float) =
        Schedule(fun t ->
            let reached = milestones |> List.filter (fun milestone -> t >= milestone)
            rate * Math.Pow(factor, float reached.Length))

    /// rate·factorᵗ
    static member exponential (rate: float) (factor: float) =
        Schedule(fun t -> rate * Math.Pow(factor, float t))

    /// From one rate to another in equal parts over so many steps, then constant: from + (goal − from)·min(t, n)/n.
    static member linear (from: float) (goal: float) (steps: int) =
        positive (nameof steps) steps
        Schedule(fun t -> from + (goal - from) * float (min t steps) / float steps)

    /// Half a wave of the cosine from the peak to another rate, then constant:
    /// final + (peak − final)·(1 + cos(π·min(t, n)/n))/2. Loshchilov and Hutter, SGDR, 2017.
    static member cosineTo (final: float) (peak: float) (steps: int) =
        positive (nameof steps) steps

        Schedule(fun t ->
            final
            + (peak - final) * (1.0 + cos (Math.PI * float (min t steps) / float steps)) / 2.0)

    /// Half a wave of the cosine from the peak to 0.
    static member cosine (peak: float) (steps: int) = Schedule.cosineTo 0.0 peak steps

    /// Half waves of the cosine from the peak to 0 that start again: the first takes `steps` steps, each following one `growth`
    /// times as many. Loshchilov and Hutter, SGDR, 2017.
    static member cosineRestarts (peak: float) (steps: int) (growth: int) =
        positive (nameof steps) steps
        positive (nameof growth) growth

        let rec wave from length t =
            if t - from < length then
                peak * (1.0 + cos (Math.PI * float (t - from) / float length)) / 2.0
            else
                wave (from + length) (growth * length) t

        if growth = 1 then
            Schedule(fun t -> wave 0 steps (t % steps))
        else
            Schedule(wave 0 steps)

    /// Rises in equal parts to the first rate of the schedule that follows, which starts after so many steps:
    /// next(0)·(t + 1)/(n + 1) for t < n, then next(t − n). No step has rate 0.
    static member warmUp (steps: int) (next: Schedule) =
        Schedule(fun t ->
            if t < steps then
                next.At 0 * float (t + 1) / float (steps + 1)
            else
                next.At(t - steps))

    /// Up from peak/startDivisor to the peak at step rise·steps − 1, then down to peak/startDivisor/finalDivisor at the last step,
    /// along the cosine or, where `linear` is set, in equal parts; then constant. Smith and Topin, Super-Convergence, 2018.
    static member oneCycle
        (peak: float, steps: int, ?rise: float, ?startDivisor: float, ?finalDivisor: float, ?linear: bool)
        =
        positive (nameof steps) steps
        let rise = defaultArg rise 0.3
        let start = peak / defaultArg startDivisor 25.0
        let final = start / defaultArg finalDivisor 1e4

        let between from goal share =
            if defaultArg linear false then
                from + (goal - from) * share
            else
                goal + (from - goal) * (1.0 + cos (Math.PI * share)) / 2.0

        let top = rise * float steps - 1.0
        let last = float (steps - 1)

        Schedule(fun t ->
            let t = min (float t) last

            if t <= top && top > 0.0 then
                between start peak (t / top)
            elif last > top then
                between peak final ((t - max 0.0 top) / (last - max 0.0 top))
            else
                peak)
