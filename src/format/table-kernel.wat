;; Loops over the entries of one table, two of them in a vector: a disk of 1 TiB has
;; sixteen million. A command runs once, and would be over before its JavaScript
;; is compiled well. `table-kernel.ts` says what each function is for.
;;
;; The table is as it is stored, and its runs lie behind it.

(module
  ;; 2 MiB for the table, the largest cluster, and a quarter of that for runs.
  (memory (export "memory") 41 41)
  ;; In the middle of a page: a processor copies slowly to a place that is a little
  ;; above the other one in its page, and large buffers begin near the start of one.
  (global $table (export "table") i32 (i32.const 2048))
  (global $runs (export "runs") i32 (i32.const 0x201000))

  ;; The big endian number at an address. What is behind the table may be read, and is never used.
  (func $entry (param $at i32) (result i64)
    (i64x2.extract_lane 0
      (i8x16.swizzle
        (v128.load (local.get $at))
        (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8))))

  ;; Cuts `length` bytes of entries into runs, in which each is `by` above the one
  ;; before it: `stride`, or 0. Four words a run: its entries, the high and the low
  ;; half of the first, and `by`. Returns their number, or -1 when they are more than `most`.
  (func (export "pack") (param $length i32) (param $stride i64) (param $most i32) (result i32)
    (local $at i32) (local $end i32) (local $from i32) (local $count i32) (local $out i32)
    (local $first i64) (local $next i64) (local $by i64)
    (local $wanted v128) (local $second v128) (local $third v128) (local $fourth v128)
    (local $two v128)
    (local.set $at (global.get $table))
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (local.set $out (global.get $runs))
    (block $done
      (loop $each
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (if (i32.eq (local.get $count) (local.get $most)) (then (return (i32.const -1))))
        (local.set $from (local.get $at))
        (local.set $first (call $entry (local.get $at)))
        (local.set $at (i32.add (local.get $at) (i32.const 8)))
        (local.set $by (i64.const 0))
        (local.set $next (i64.add (local.get $first) (local.get $stride)))
        (if (i32.lt_u (local.get $at) (local.get $end))
          (then
            (if (i64.eq (call $entry (local.get $at)) (local.get $next))
              (then (local.set $by (local.get $stride)))
              (else (local.set $next (local.get $first))))
            (local.set $wanted
              (i64x2.replace_lane 1
                (i64x2.splat (local.get $next))
                (i64.add (local.get $next) (local.get $by))))
            (local.set $two (i64x2.splat (i64.shl (local.get $by) (i64.const 1))))
            ;; Four pairs at a time, and no call: this is where a pass spends its time.
            (block $differs
              (loop $eight
                (br_if $differs
                  (i32.gt_u (i32.add (local.get $at) (i32.const 64)) (local.get $end)))
                (local.set $second (i64x2.add (local.get $wanted) (local.get $two)))
                (local.set $third (i64x2.add (local.get $second) (local.get $two)))
                (local.set $fourth (i64x2.add (local.get $third) (local.get $two)))
                (br_if $differs
                  (v128.any_true
                    (v128.or
                      (v128.or
                        (v128.xor (local.get $wanted)
                          (i8x16.swizzle
                            (v128.load offset=0 (local.get $at))
                            (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8)))
                        (v128.xor (local.get $second)
                          (i8x16.swizzle
                            (v128.load offset=16 (local.get $at))
                            (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8))))
                      (v128.or
                        (v128.xor (local.get $third)
                          (i8x16.swizzle
                            (v128.load offset=32 (local.get $at))
                            (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8)))
                        (v128.xor (local.get $fourth)
                          (i8x16.swizzle
                            (v128.load offset=48 (local.get $at))
                            (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8)))))))
                (local.set $wanted (i64x2.add (local.get $fourth) (local.get $two)))
                (local.set $at (i32.add (local.get $at) (i32.const 64)))
                (br $eight)))
            ;; What is left of the run is less than that.
            (local.set $next (i64x2.extract_lane 0 (local.get $wanted)))
            (block $ends
              (loop $one
                (br_if $ends (i32.ge_u (local.get $at) (local.get $end)))
                (br_if $ends (i64.ne (call $entry (local.get $at)) (local.get $next)))
                (local.set $next (i64.add (local.get $next) (local.get $by)))
                (local.set $at (i32.add (local.get $at) (i32.const 8)))
                (br $one)))))
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
    (local $at i32) (local $in i32) (local $left i32)
    (local $first i64) (local $by i64)
    (local $wanted v128) (local $second v128) (local $two v128)
    (local.set $at (global.get $table))
    (local.set $in (global.get $runs))
    (block $done
      (loop $each
        (br_if $done (i32.eqz (local.get $count)))
        (local.set $left (i32.load (local.get $in)))
        (local.set $by (i64.load32_u offset=12 (local.get $in)))
        (local.set $first
          (i64.or
            (i64.shl (i64.load32_u offset=4 (local.get $in)) (i64.const 32))
            (i64.load32_u offset=8 (local.get $in))))
        (local.set $wanted
          (i64x2.replace_lane 1
            (i64x2.splat (local.get $first))
            (i64.add (local.get $first) (local.get $by))))
        (local.set $two (i64x2.splat (i64.shl (local.get $by) (i64.const 1))))
        ;; The last four may reach behind the run: the next one, or nobody, has that place.
        (block $filled
          (loop $four
            (br_if $filled (i32.le_s (local.get $left) (i32.const 0)))
            (local.set $second (i64x2.add (local.get $wanted) (local.get $two)))
            (v128.store (local.get $at)
              (i8x16.swizzle
                (local.get $wanted)
                (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8)))
            (v128.store offset=16 (local.get $at)
              (i8x16.swizzle
                (local.get $second)
                (v128.const i8x16 7 6 5 4 3 2 1 0 15 14 13 12 11 10 9 8)))
            (local.set $wanted (i64x2.add (local.get $second) (local.get $two)))
            (local.set $at (i32.add (local.get $at) (i32.const 32)))
            (local.set $left (i32.sub (local.get $left) (i32.const 4)))
            (br $four)))
        ;; What is left is negative where it did.
        (local.set $at (i32.add (local.get $at) (i32.shl (local.get $left) (i32.const 3))))
        (local.set $in (i32.add (local.get $in) (i32.const 16)))
        (local.set $count (i32.sub (local.get $count) (i32.const 1)))
        (br $each))))

  ;; Sets or clears the highest bit of each entry of 8 or 16 bytes in `length` bytes, and of what is in the same vectors behind them.
  (func (export "mark") (param $length i32) (param $entry_size i32) (param $is_set i32)
    (local $at i32) (local $end i32) (local $flags v128) (local $kept v128) (local $added v128)
    (local.set $at (global.get $table))
    (local.set $end (i32.add (local.get $at) (local.get $length)))
    (local.set $flags
      (select
        (v128.const i8x16 0x80 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0)
        (v128.const i8x16 0x80 0 0 0 0 0 0 0 0x80 0 0 0 0 0 0 0)
        (i32.eq (local.get $entry_size) (i32.const 16))))
    (local.set $kept (v128.not (local.get $flags)))
    (if (local.get $is_set) (then (local.set $added (local.get $flags))))
    (block $done
      (loop $two
        (br_if $done (i32.ge_u (local.get $at) (local.get $end)))
        (v128.store (local.get $at)
          (v128.or
            (v128.and (v128.load (local.get $at)) (local.get $kept))
            (local.get $added)))
        (v128.store offset=16 (local.get $at)
          (v128.or
            (v128.and (v128.load offset=16 (local.get $at)) (local.get $kept))
            (local.get $added)))
        (local.set $at (i32.add (local.get $at) (i32.const 32)))
        (br $two))))
)
