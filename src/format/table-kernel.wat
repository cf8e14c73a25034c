;; Loops over the entries of one table, two of them in a vector: a disk of 1 TiB has
;; sixteen million. A command runs once, and would be over before its JavaScript
;; is compiled well. `table-kernel.ts` says what each function is for.
;;
;; The table is at 0, as it is stored; its runs are written behind it.

(module
  ;; 2 MiB for the table, the largest cluster, and a quarter of that for runs.
  (memory (export "memory") 40 40)
  (global $runs (export "runs") i32 (i32.const 0x200000))

  ;; The big endian number at an address.
  (func $entry (param $at i32) (result i64)
    (i64x2.extract_lane 0 (call $entries (local.get $at))))

  ;; The two of them from an address on. What is behind the table may be read, and is never used.
  (func $entries (param $at i32) (result v128)
    (call $swapped (v128.load (local.get $at))))

  ;; Two numbers in the other byte order.
  (func $swapped (param $entries v128) (result v128)
    (i8x16.swizzle
      (local.get $entries)
      (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8)))

  ;; Cuts `length` bytes of entries into runs, in which each is `by` above the one
  ;; before it: `stride`, or 0. Four words a run: its entries, the high and the low
  ;; half of the first, and `by`. Returns their number, or -1 when they are more than `most`.
  (func (export "pack") (param $length i32) (param $stride i64) (param $most i32) (result i32)
    (local $at i32) (local $from i32) (local $count i32) (local $out i32)
    (local $first i64) (local $next i64) (local $by i64)
    (local $wanted v128) (local $two v128)
    (local.set $out (global.get $runs))
    (block $done
      (loop $each
        (br_if $done (i32.ge_u (local.get $at) (local.get $length)))
        (if (i32.eq (local.get $count) (local.get $most)) (then (return (i32.const -1))))
        (local.set $from (local.get $at))
        (local.set $first (call $entry (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $by (i64.const 0))
        (local.set $next (i64.add (local.get $first) (local.get $stride)))
        (if (i32.lt_u (local.get $at) (local.get $length))
          (then
            (if (i64.eq (call $entry (local.get $at)) (local.get $next))
              (then (local.set $by (local.get $stride)))
              (else (local.set $next (local.get $first))))
            (local.set $wanted
              (i64x2.replace_lane 1
                (i64x2.splat (local.get $next))
                (i64.add (local.get $next) (local.get $by))))
            (local.set $two (i64x2.splat (i64.shl (local.get $by) (i64.const 1))))
            (block $differs
              (loop $pair
                (br_if $differs
                  (i32.gt_u (i32.add (local.get $at) (i32.const 16)) (local.get $length)))
                (br_if $differs
                  (v128.any_true (v128.xor (call $entries (local.get $at)) (local.get $wanted))))
                (local.set $wanted (i64x2.add (local.get $wanted) (local.get $two)))
                (local.set $at (i32.add (local.get $at) (i32.const 16)))
                (br $pair)))
            ;; The first of the pair, or the last of the table, may still be one of them.
            (if (i32.lt_u (local.get $at) (local.get $length))
              (then
                (if (i64.eq
                      (call $entry (local.get $at))
                      (i64x2.extract_lane 0 (local.get $wanted)))
                  (then (local.set $at (i32.add (local.get $at) (i32.const 8)))))))))
        (i32.store (local.get $out)
          (i32.shr_u (i32.sub (local.get $at) (local.get $from)) (i32.const 3)))
        (i32.store offset=4 (local.get $out)
          (i32.wrap_i64 (i64.shr_u (local.get $first) (i64.const 32))))
        (i32.store offset=8 (local.get $out) (i32.wrap_i64 (local.get $first)))
        (i32.store offset=12 (local.get $out) (i32.wrap_i64 (local.get $by)))
        (local.set $out (i32.add (local.get $out) (i32.const 16)))
        (local.set $count (i32.add (local.get $count) (i32.const 1)))
        (br $each)))
    (local.get $count))

  ;; Writes the entries of so many runs, which `pack` would find in them.
  (func (export "unpack") (param $count i32)
    (local $at i32) (local $in i32) (local $left i32) (local $by i64)
    (local $wanted v128) (local $two v128)
    (local.set $in (global.get $runs))
    (block $done
      (loop $each
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $left (i32.load (local.get $in)))
        (local.set $by (i64.load32_u offset=12 (local.get $in)))
        (local.set $wanted
          (i64x2.splat
            (i64.or
              (i64.shl (i64.load32_u offset=4 (local.get $in)) (i64.const 32))
              (i64.load32_u offset=8 (local.get $in)))))
        (local.set $wanted
          (i64x2.replace_lane 1
            (local.get $wanted)
            (i64.add (i64x2.extract_lane 0 (local.get $wanted)) (local.get $by))))
        (local.set $two (i64x2.splat (i64.shl (local.get $by) (i64.const 1))))
        (block $filled
          (loop $pair
            (br_if $filled (i32.lt_u (local.get $left) (i32.const 2)))
            (v128.store (local.get $at) (call $swapped (local.get $wanted)))
            (local.set $wanted (i64x2.add (local.get $wanted) (local.get $two)))
            (local.set $at (i32.add (local.get $at) (i32.const 16)))
            (local.set $left (i32.sub (local.get $left) (i32.const 2)))
            (br $pair)))
        (if (local.get $left)
          (then
            (v128.store64_lane 0 (local.get $at) (call $swapped (local.get $wanted)))
            (local.set $at (i32.add (local.get $at) (i32.const 8)))))
        (local.set $in (i32.add (local.get $in) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $each))))

  ;; Sets or clears the highest bit of each entry of 8 or 16 bytes in `length` bytes, and of what is in the same vector behind them.
  (func (export "mark") (param $length i32) (param $entry_size i32) (param $is_set i32)
    (local $at i32) (local $flags v128)
    (local.set $flags
      (select
        (v128.const i8x16 0x80 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0)
        (v128.const i8x16 0x80 0 0 0 0 0 0 0 0x80 0 0 0 0 0 0 0)
        (i32.eq (local.get $entry_size) (i32.const 16))))
    (block $done
      (loop $vector
        (br_if $done (i32.ge_u (local.get $at) (local.get $length)))
        (v128.store (local.get $at)
          (select
            (v128.or (v128.load (local.get $at)) (local.get $flags))
            (v128.andnot (v128.load (local.get $at)) (local.get $flags))
            (local.get $is_set)))
        (local.set $at (i32.add (local.get $at) (i32.const 16)))
        (br $vector))))
)
