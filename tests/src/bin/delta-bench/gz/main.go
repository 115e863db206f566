// Command gz compresses a file as Go programs do, for the corpus of delta-bench.
//
// In:  an encoder (go, go1, go9, helm, pgzip), the path to read, the path to write.
// Out: the gzip file, the same for the same input and encoder; no name and no time in its header.
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/pgzip"
)

func main() {
	if len(os.Args) != 4 {
		fail(fmt.Errorf("usage: gz go|go1|go9|helm|pgzip IN OUT"))
	}
	if err := run(os.Args[1], os.Args[2], os.Args[3]); err != nil {
		fail(err)
	}
}

func run(encoder, from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	defer out.Close()
	w, err := writer(encoder, out)
	if err != nil {
		return err
	}
	if _, err := io.Copy(w, in); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return out.Close()
}

func writer(encoder string, out io.Writer) (io.WriteCloser, error) {
	switch encoder {
	case "go":
		return gzip.NewWriterLevel(out, gzip.DefaultCompression)
	case "go1":
		return gzip.NewWriterLevel(out, gzip.BestSpeed)
	case "go9":
		return gzip.NewWriterLevel(out, gzip.BestCompression)
	case "helm":
		// The header of every chart: pkg/chartutil/save.go of Helm.
		w := gzip.NewWriter(out)
		w.Extra = []byte("+aHR0cHM6Ly95b3V0dS5iZS96OVV6MWljandyTQo=")
		w.Comment = "Helm"
		return w, nil
	case "pgzip":
		return pgzip.NewWriterLevel(out, pgzip.DefaultCompression)
	default:
		return nil, fmt.Errorf("no encoder is called %q", encoder)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "gz:", err)
	os.Exit(1)
}
