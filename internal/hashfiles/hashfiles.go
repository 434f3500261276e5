// Package hashfiles finds files and hashes them on all cores.
//
// It owns which entries of a folder are files. It promises an answer for each name, in the order of the names: a hash, or
// why there is none. One that can't be read never stops the others, and memory doesn't grow with their number or size.
//
// It must not know any other package of this module.
package hashfiles

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"io/fs"
	"iter"
	"os"
	"path/filepath"
	"runtime"
)

// ErrSkipped is why an entry of a folder is not hashed: it is a link, a device, a pipe or a socket. They are hashed where
// they are named themselves.
var ErrSkipped = errors.New("skipped: neither a file nor a folder")

var errReadBefore = errors.New("standard input was named before, and can be read once")

// Item is a file to hash.
type Item struct {
	Name string
	Err  error // why it can't be hashed; nil: it is to be tried
	Tag  any   // the caller's own, which comes back with the file
	// Stdin says that standard input is meant, whatever the name.
	Stdin bool
	// Known is the hash of what is not to be read; nil: it is.
	Known *[32]byte
}

// Walk yields the files that paths name: each as it is, and for a folder all files below it, hidden ones too, by name. -
// is standard input, which can be read once.
func Walk(paths ...string) iter.Seq[Item] {
	return func(yield func(Item) bool) {
		read := false
		for _, path := range paths {
			if path == "-" {
				item := Item{Name: path, Stdin: true}
				if read {
					item.Err = errReadBefore
				}
				if read = true; !yield(item) {
					return
				}
				continue
			}
			if info, err := os.Stat(path); err != nil || !info.IsDir() {
				if !yield(Item{Name: path}) { // opening it gives the error
					return
				}
			} else if !walkFolder(path, yield) {
				return
			}
		}
	}
}

func walkFolder(root string, yield func(Item) bool) (goOn bool) {
	goOn = true
	_ = filepath.WalkDir(root+string(filepath.Separator), func(path string, d fs.DirEntry, err error) error {
		path = filepath.Clean(path)
		switch {
		case err != nil:
			goOn = yield(Item{Name: path, Err: plain(err)})
		case d.IsDir():
		case d.Type().IsRegular():
			goOn = yield(Item{Name: path})
		default:
			goOn = yield(Item{Name: path, Err: ErrSkipped})
		}
		if !goOn {
			return fs.SkipAll
		}
		return nil
	})
	return goOn
}

// plain is an error without the name of the file, which whoever prints it has.
func plain(err error) error {
	if wrapped, ok := errors.AsType[*fs.PathError](err); ok {
		return wrapped.Err
	}
	return err
}

// File is what became of an item. Err says why there is no hash.
type File struct {
	Item
	Hash [32]byte // SHA-256 of the content
}

// Each hashes files on all cores, and yields them in the order of their items. It opens some files ahead of the one that
// is yielded, and asks for items on a goroutine of its own. When ctx ends, so do the files, or those that are left have
// its error.
func Each(ctx context.Context, items iter.Seq[Item]) iter.Seq[File] {
	return func(yield func(File) bool) {
		ctx, cancel := context.WithCancel(ctx)
		workers := runtime.GOMAXPROCS(0)
		started := make(chan chan File, 4*workers) // files in their order, each a promise
		turns := make(chan struct{}, workers)
		go func() {
			defer close(started)
			for item := range items {
				promise := make(chan File, 1)
				select {
				case started <- promise:
				case <-ctx.Done():
					return
				}
				if item.Err != nil || item.Known != nil {
					f := File{Item: item}
					if item.Known != nil {
						f.Hash = *item.Known
					}
					promise <- f
					continue
				}
				turns <- struct{}{}
				go func() {
					defer func() { <-turns }()
					f := File{Item: item}
					f.Hash, f.Err = hashFile(ctx, &item)
					promise <- f
				}()
			}
		}()
		defer func() { // nothing runs on behind the caller
			cancel()
			for promise := range started {
				<-promise
			}
		}()
		for promise := range started {
			if !yield(<-promise) {
				return
			}
		}
	}
}

// hashFile reads a file in pieces.
func hashFile(ctx context.Context, item *Item) (hash [32]byte, err error) {
	f := os.Stdin
	if !item.Stdin {
		if f, err = os.Open(item.Name); err != nil {
			return hash, plain(err)
		}
		defer f.Close()
	}
	before, err := f.Stat()
	if err != nil {
		return hash, err
	}
	if before.IsDir() {
		return hash, errors.New("is a folder")
	}
	h, buffer := sha256.New(), make([]byte, 256<<10)
	n := int64(0)
	for {
		if ctx.Err() != nil {
			return hash, ctx.Err()
		}
		read, err := f.Read(buffer)
		h.Write(buffer[:read])
		n += int64(read)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return hash, plain(err)
		}
	}
	after, err := f.Stat()
	if err != nil {
		return hash, err
	}
	if after.Mode().IsRegular() && (after.Size() != n || !after.ModTime().Equal(before.ModTime())) {
		return hash, errors.New("it changed while it was read")
	}
	h.Sum(hash[:0])
	return hash, nil
}
