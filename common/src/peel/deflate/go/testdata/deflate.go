// Deflates what it is asked to, with the compress/flate of the release it is built with.
//
// Standard input, numbers in little-endian order, until its end:
//
//	u32 length of the input, u32 size of each write (0: all in one), u32 number of levels,
//	one byte for each level (255 stands for -1), the input
//
// Standard output, for each input and level:
//
//	u32 length of the stream, its SHA-256 (32 bytes)
package main

import (
	"bufio"
	"compress/flate"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"io"
	"log"
	"os"
)

type counter struct {
	hash.Hash
	length uint32
}

func (c *counter) Write(b []byte) (int, error) {
	c.length += uint32(len(b))
	return c.Hash.Write(b)
}

func deflate(out io.Writer, plain []byte, size uint32, level int) error {
	w, err := flate.NewWriter(out, level)
	if err != nil {
		return err
	}
	for size != 0 && len(plain) > int(size) {
		if _, err := w.Write(plain[:size]); err != nil {
			return err
		}
		plain = plain[size:]
	}
	if _, err := w.Write(plain); err != nil {
		return err
	}
	return w.Close()
}

func main() {
	in := bufio.NewReader(os.Stdin)
	out := bufio.NewWriter(os.Stdout)
	for {
		var head [3]uint32
		if err := binary.Read(in, binary.LittleEndian, &head); err == io.EOF {
			break
		} else if err != nil {
			log.Fatal(err)
		}
		levels, plain := make([]int8, head[2]), make([]byte, head[0])
		if err := binary.Read(in, binary.LittleEndian, levels); err != nil {
			log.Fatal(err)
		}
		if _, err := io.ReadFull(in, plain); err != nil {
			log.Fatal(err)
		}
		for _, level := range levels {
			stream := &counter{Hash: sha256.New()}
			if err := deflate(stream, plain, head[1], int(level)); err != nil {
				log.Fatal(err)
			}
			binary.Write(out, binary.LittleEndian, stream.length)
			out.Write(stream.Sum(nil))
		}
	}
	if err := out.Flush(); err != nil {
		log.Fatal(err)
	}
}
