module gapferry.dev/delta-bench/gz

go 1.24

require github.com/klauspost/pgzip v1.2.6

require github.com/klauspost/compress v1.18.0 // indirect
