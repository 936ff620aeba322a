namespace Functional

open System.Text.RegularExpressions

/// A named, ordered, immutable tree: parameters, state, gradients and moments are all of this shape.
type Tree<'T> =
    | Leaf of 'T
    | Node of (string * Tree<'T>) list

/// Trees, where a path such as "dense2.weight" names a leaf.
module Tree =
    /// No leaves at all: the parameters of a layer that learns nothing.
    let empty<'T> : Tree<'T> = Node []

    /// The same tree with f of every leaf.
    let rec map f =
        function
        | Leaf value -> Leaf(f value)
        | Node children -> Node [ for name, child in children -> name, map f child ]

    /// The same tree with f of every leaf and its path.
    let mapPath f tree =
        let rec walk prefix =
            function
            | Leaf value -> Leaf(f prefix value)
            | Node children ->
                Node
                    [
                        for name, child in children ->
                            name, walk (if prefix = "" then name else $"{prefix}.{name}") child
                    ]

        walk "" tree

    /// The leaves with their paths, in order.
    let named tree =
        let found = ResizeArray()

        mapPath (fun path leaf -> found.Add((path, leaf))) tree |> ignore<Tree<unit>>
        List.ofSeq found

    let rec private count =
        function
        | Leaf _ -> 1
        | Node children ->
            let mutable n = 0

            for _, child in children do
                n <- n + count child

            n

    /// The leaves in order.
    let leaves (tree: Tree<'T>) : 'T[] =
        let result = Array.zeroCreate (count tree)

        let rec fill next =
            function
            | Leaf value ->
                result[next] <- value
                next + 1
            | Node children ->
                let mutable next = next

                for _, child in children do
                    next <- fill next child

                next

        fill 0 tree |> ignore
        result

    /// The tree with other leaves, in the same order.
    let rebuild (tree: Tree<'T>) (leaves: 'U[]) : Tree<'U> =
        let mutable next = 0

        let rec walk =
            function
            | Leaf _ ->
                next <- next + 1
                Leaf leaves[next - 1]
            | Node children -> Node(children |> List.map (fun (name, child) -> name, walk child))

        let expected = count tree

        if leaves.Length <> expected then
            invalidArg
                (nameof leaves)
                $"tree: one value per leaf is needed; got {leaves.Length} values and {expected} leaves. Give them in the tree's order."

        walk tree

    /// Leaf by leaf over two trees of the same names.
    let rec map2 f a b =
        match a, b with
        | Leaf x, Leaf y -> Leaf(f x y)
        | Node xs, Node ys when List.map fst xs = List.map fst ys ->
            Node(List.map2 (fun (name, x) (_, y) -> name, map2 f x y) xs ys)
        | _ ->
            let describe =
                function
                | Leaf _ -> "a leaf"
                | Node children -> children |> List.map fst |> String.concat ", "

            invalidArg
                (nameof b)
                $"tree: both trees must have the same names; got {describe a} and {describe b}. Make both from the same network."

    /// The leaf at a path.
    let find path tree =
        match named tree |> List.tryFind (fun (name, _) -> name = path) with
        | Some(_, leaf) -> leaf
        | None ->
            let names = named tree |> List.map fst |> String.concat ", "
            invalidArg (nameof path) $"tree: the path must name a leaf; got '{path}' and {names}. Choose one of them."

    /// Whether a pattern means a path: the path itself or something it is under, where `*` stands for any letters. "features" means
    /// "features.dense.weight", "*bias" every bias, "dense*.weight" the weights of several layers.
    let matches (pattern: string) (path: string) =
        let letters = Regex.Escape(pattern).Replace(@"\*", ".*")
        Regex.IsMatch(path, @$"^{letters}(\.|$)", RegexOptions.CultureInvariant)

    /// Refuses a pattern that means none of the paths: it is misspelt.
    let internal refuseIdle op (paths: string seq) (pattern: string) =
        if not (paths |> Seq.exists (matches pattern)) then
            let paths = String.concat ", " paths

            invalidArg
                (nameof pattern)
                $"{op}: the pattern must mean a parameter; got '{pattern}' and the paths {paths}. Choose from them; * stands for any letters."
