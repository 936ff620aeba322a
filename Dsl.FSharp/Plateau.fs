namespace Functional

open System

/// When a metric counts as better, and what happens when it no longer gets better.
type PlateauRule =
    {
        /// Whether larger is better.
        Rising: bool
        /// What the rate is multiplied with.
        Factor: float
        /// Measurements without a better one that are borne.
        Patience: int
        /// How much better is better: a share of the best, or with `Absolute` a difference.
        Threshold: float
        Absolute: bool
        /// Measurements after a drop during which nothing counts.
        Cooldown: int
        /// The rate never falls below this, nor by less than 1e-8.
        Least: float
    }

    /// Falling metrics, a tenth of the rate after 10 measurements that are not better by a ten-thousandth.
    static member Usual =
        {
            Rising = false
            Factor = 0.1
            Patience = 10
            Threshold = 1e-4
            Absolute = false
            Cooldown = 0
            Least = 0.0
        }

/// A learning rate that drops where a metric stops getting better, as a value: `step` gives the next one.
type Plateau =
    private
        {
            Rule: PlateauRule
            Now: float
            Best: float
            Bad: int
            Cooling: int
        }

    /// The rate now.
    member plateau.Rate = plateau.Now

[<CompilationRepresentation(CompilationRepresentationFlags.ModuleSuffix)>]
module Plateau =
    /// A rate before any measurement.
    let start (rule: PlateauRule) (rate: float) : Plateau =
        if not (rule.Factor > 0.0 && rule.Factor < 1.0) then
            invalidArg (nameof rule) $"plateau: the factor must lie between 0 and 1; got {rule.Factor}. Correct it."

        {
            Rule = rule
            Now = rate
            Best = if rule.Rising then -infinity else infinity
            Bad = 0
            Cooling = 0
        }

    let private better rule metric best =
        match rule.Rising, rule.Absolute with
        | false, false -> metric < best * (1.0 - rule.Threshold)
        | false, true -> metric < best - rule.Threshold
        | true, false -> metric > best * (1.0 + rule.Threshold)
        | true, true -> metric > best + rule.Threshold

    /// The rate after a measurement.
    let step (metric: float) (plateau: Plateau) : Plateau =
        let rule = plateau.Rule

        let best, bad =
            if better rule metric plateau.Best then
                metric, 0
            else
                plateau.Best, plateau.Bad + 1

        let cooling, bad =
            if plateau.Cooling > 0 then
                plateau.Cooling - 1, 0
            else
                0, bad

        let seen =
            { plateau with
                Best = best
                Bad = bad
                Cooling = cooling
            }

        if bad <= rule.Patience then
            seen
        else
            let lower = max (plateau.Now * rule.Factor) rule.Least

            { seen with
                Now = if plateau.Now - lower > 1e-8 then lower else plateau.Now
                Bad = 0
                Cooling = rule.Cooldown
            }
