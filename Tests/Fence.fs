/// Memory for tensors and kernels' buffers with borders that nobody may touch.
module Functional.Tests.Fence

#nowarn "9" // Addresses are the point.

open System
open System.Collections.Generic
open System.Runtime.InteropServices
open Microsoft.FSharp.NativeInterop
open Functional.Kernels

[<DllImport("libc", SetLastError = true)>]
extern nativeint private mmap(nativeint address, unativeint length, int protection, int flags, int file, int64 offset)

[<DllImport("libc", SetLastError = true)>]
extern int private mprotect(nativeint address, unativeint length, int protection)

/// Where a buffer touches a page that is not there.
type Side =
    | AtItsStart
    | AtItsEnd

let private page = nativeint Environment.SystemPageSize

/// Elsewhere the borders are poisoned instead: writing shows, and what is read is NaN.
let unmaps = OperatingSystem.IsLinux()

/// All bits set: NaN as a float, −1 as an integer.
let private poison = 0xFFuy

let private bytesAt (address: nativeint) (count: nativeint) =
    Span<byte>(NativePtr.toVoidPtr (NativePtr.ofNativeInt<byte> address), int count)

/// Whole pages for so many bytes between two that cannot be touched.
let private reserve (room: nativeint) =
    if unmaps then
        let readWrite, privateAnonymous = 3, 0x22

        let all =
            mmap (0n, unativeint (room + 2n * page), readWrite, privateAnonymous, -1, 0L)

        if all = -1n then
            failwith $"mmap: error {Marshal.GetLastPInvokeError()}"

        for border in [ all; all + page + room ] do
            if mprotect (border, unativeint page, 0) <> 0 then
                failwith $"mprotect: error {Marshal.GetLastPInvokeError()}"

        all + page
    else
        let all =
            NativePtr.toNativeInt (
                NativePtr.ofVoidPtr<byte>(NativeMemory.AlignedAlloc(unativeint (room + 2n * page), unativeint page))
            )

        (bytesAt all page).Fill poison
        (bytesAt (all + page + room) page).Fill poison
        all + page

type private Loan =
    {
        Start: nativeint
        Room: nativeint
        Bytes: nativeint
        Side: Side
    }

let private idle = Dictionary<nativeint, Stack<nativeint>>()
let private loans = List<Loan>()

let private address loan =
    match loan.Side with
    | AtItsStart -> loan.Start
    | AtItsEnd -> loan.Start + loan.Room - loan.Bytes

let private lend side (bytes: nativeint) =
    lock loans (fun () ->
        let room = max page ((bytes + page - 1n) / page * page)

        let start =
            match idle.TryGetValue room with
            | true, free when free.Count > 0 -> free.Pop()
            | _ -> reserve room

        (bytesAt start room).Fill poison

        let loan =
            {
                Start = start
                Room = room
                Bytes = bytes
                Side = side
            }

        loans.Add loan
        address loan)

/// What lies between a buffer and its far border, and the borders themselves where they are mapped, must be as it was.
let private untouched loan =
    let first = address loan
    let last = first + loan.Bytes
    let border = if unmaps then 0n else page

    let clean (from: nativeint) (until: nativeint) =
        (bytesAt from (until - from)).IndexOfAnyExcept poison < 0

    clean (loan.Start - border) first
    && clean last (loan.Start + loan.Room + border)

/// Runs `f` with every tensor and buffer it makes against a border; afterwards their memory is gone. Fails when a byte outside of them was written.
let within side (f: unit -> 'a) =
    try
        NativePages.Fenced <- Func<_, _>(lend side)
        let result = f ()

        for loan in loans do
            if not (untouched loan) then
                failwith $"the memory around a buffer of {loan.Bytes} bytes was written"

        result
    finally
        NativePages.Fenced <- null

        for loan in loans do
            match idle.TryGetValue loan.Room with
            | true, free -> free.Push loan.Start
            | _ -> idle[loan.Room] <- Stack [ loan.Start ]

        loans.Clear()
