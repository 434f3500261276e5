package bench

// A pool is a site's signed pairs, made once and kept in files that only grow:
//
//	key     the private key
//	seed    what the hashes are derived from
//	good    pairs, see pair.go
//	bad     pairs whose signature belongs to another hash
//	used    how many good pairs went to running services, which remember them; private servers start empty
//
// What is read from a pool is taken front to back: a pair that was sent is a duplicate from then on.

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// poolFormat is part of the pools' path: files in another format are not looked at.
const poolFormat = "pairs1"

// pool is open for one session. reserve is safe for concurrent use; the rest is for one goroutine at a time.
type pool struct {
	algorithm
	site  string
	dir   string
	key   crypto.Signer
	seed  []byte
	good  int // pairs in the files
	bad   int
	limit int // pairs that the good file may hold

	mu   sync.Mutex
	next int // first pair that was not taken
}

// openPool opens the pool of the number-th site with such a key, and makes key and seed if there are none.
func openPool(cache string, a algorithm, number int, limitBytes int64) (*pool, error) {
	name := fmt.Sprintf("%s-%d", a.name, number)
	p := &pool{algorithm: a, site: name + ".bench.example", dir: filepath.Join(cache, poolFormat, name), limit: int(limitBytes / int64(a.width()))}
	if err := os.MkdirAll(p.dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the folder of bench data: %w", err)
	}
	der, err := p.keep("key", func() ([]byte, error) {
		key, err := a.newKey()
		if err != nil {
			return nil, err
		}
		return marshalKey(key)
	})
	if err != nil {
		return nil, err
	}
	if p.key, err = a.parseKey(der); err != nil {
		return nil, fmt.Errorf("%w; remove the folder %s to have it made again", err, p.dir)
	}
	p.seed, err = p.keep("seed", func() ([]byte, error) {
		seed := make([]byte, 32)
		_, err := rand.Read(seed)
		return seed, err
	})
	if err != nil {
		return nil, err
	}
	for file, n := range map[string]*int{"good": &p.good, "bad": &p.bad} {
		info, err := os.Stat(p.path(file))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if err == nil {
			*n = int(info.Size()) / a.width() // a pair that was cut off is made again
		}
	}
	return p, nil
}

func (p *pool) path(file string) string { return filepath.Join(p.dir, file) }

// keep reads a small file, or makes it.
func (p *pool) keep(file string, create func() ([]byte, error)) ([]byte, error) {
	data, err := os.ReadFile(p.path(file))
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		return data, err
	}
	if data, err = create(); err != nil {
		return nil, fmt.Errorf("make %s of %s: %w", file, p.site, err)
	}
	return data, writeWhole(p.path(file), data)
}

// writeWhole leaves the old file or the new one, whatever happens.
func writeWhole(path string, data []byte) error {
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// hash derives the i-th hash of a file.
func (p *pool) hash(file string, i int) [32]byte {
	message := append(append([]byte(nil), p.seed...), file...)
	return sha256.Sum256(binary.BigEndian.AppendUint64(message, uint64(i)))
}

// goodPair signs.
func (p *pool) goodPair(i int) ([32]byte, []byte, error) {
	hash := p.hash("good", i)
	digest := sha256.Sum256([]byte(hexText(hash)))
	signature, err := p.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	return hash, signature, err
}

// ensure makes good pairs until there are n more than were taken. It says so when the limit leaves fewer.
func (p *pool) ensure(ctx context.Context, n int, progress func(done, of int)) error {
	n += p.next
	if n > p.limit {
		return fmt.Errorf("%s: %d signed pairs need more room than the data may take; raise --data-limit, or remove %s to start again", p.site, n, p.dir)
	}
	return p.grow(ctx, "good", &p.good, n, progress, p.goodPair)
}

// ensureBad makes bad pairs until there are n. Their signatures are those of the first good pairs.
func (p *pool) ensureBad(ctx context.Context, n int) error {
	if n <= p.bad {
		return nil
	}
	const lent = 64
	if err := p.ensure(ctx, lent, nil); err != nil {
		return err
	}
	pairs, err := p.read(0, lent)
	if err != nil {
		return err
	}
	return p.grow(ctx, "bad", &p.bad, n, nil, func(i int) ([32]byte, []byte, error) {
		return p.hash("bad", i), pairs.signatures[i%lent], nil
	})
}

// chunkPairs is how many pairs a worker makes at a time.
const chunkPairs = 2048

// grow appends pairs to a file, made on all cores and written in order.
func (p *pool) grow(ctx context.Context, file string, have *int, want int, progress func(done, of int), pair func(i int) ([32]byte, []byte, error)) error {
	if want <= *have {
		return nil
	}
	f, err := os.OpenFile(p.path(file), os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	width := p.width()
	buffer := make([]byte, runtime.NumCPU()*chunkPairs*width)
	start := *have
	for *have < want && ctx.Err() == nil {
		n := min(want-*have, len(buffer)/width)
		if err := p.fill(buffer[:n*width], *have, pair); err != nil {
			return fmt.Errorf("make pairs of %s: %w", p.site, err)
		}
		if _, err := f.WriteAt(buffer[:n*width], int64(*have)*int64(width)); err != nil {
			return fmt.Errorf("write pairs of %s: %w", p.site, err)
		}
		*have += n
		if progress != nil {
			progress(*have-start, want-start)
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return f.Close()
}

// fill makes the pairs from index first on, on all cores.
func (p *pool) fill(buffer []byte, first int, pair func(i int) ([32]byte, []byte, error)) error {
	var group errgroup.Group
	width, enc := p.width(), encoding()
	n := len(buffer) / width
	for from := 0; from < n; from += chunkPairs {
		group.Go(func() error {
			for i := from; i < min(from+chunkPairs, n); i++ {
				hash, signature, err := pair(first + i)
				if err != nil {
					return err
				}
				putPair(buffer[i*width:(i+1)*width], hash, signature, enc)
			}
			return nil
		})
	}
	return group.Wait()
}

// errUsedUp says that a run took all the pairs that were made for it.
var errUsedUp = errors.New("the signed pairs are used up")

// reserve hands out n good pairs, which nobody else gets, and returns the index of the first.
func (p *pool) reserve(n int) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.next+n > p.good {
		return 0, fmt.Errorf("%s: %w", p.site, errUsedUp)
	}
	p.next += n
	return p.next - n, nil
}

// left is how many pairs can be taken.
func (p *pool) left() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.good - p.next
}

// room is how many pairs more than were taken there may be within the limit.
func (p *pool) room() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.limit - p.next
}

// rewind makes every pair count as never sent: for a private server that starts empty.
func (p *pool) rewind() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = 0
}

// resume skips the pairs that running services may know.
func (p *pool) resume() error {
	text, err := os.ReadFile(p.path("used"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return fmt.Errorf("%s: %w; remove the folder to have its pairs made again", p.path("used"), err)
	}
	p.next = n
	return nil
}

// remember notes what was taken, for resume.
func (p *pool) remember() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return writeWhole(p.path("used"), strconv.AppendInt(nil, int64(p.next), 10))
}

// texts reads n good pairs from index first on.
func (p *pool) texts(first, n int) ([]textPair, error) {
	f, err := os.Open(p.path("good"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	width := p.width()
	buffer := make([]byte, n*width)
	if _, err := f.ReadAt(buffer, int64(first)*int64(width)); err != nil {
		return nil, fmt.Errorf("read pairs of %s: %w", p.site, err)
	}
	pairs := make([]textPair, n)
	for i := range pairs {
		if pairs[i], err = getPair(buffer[i*width : (i+1)*width]); err != nil {
			return nil, fmt.Errorf("%s: %w; remove the folder %s to have it made again", p.path("good"), err, p.dir)
		}
	}
	return pairs, nil
}

// read is texts, decoded.
func (p *pool) read(first, n int) (*signed, error) {
	pairs, err := p.texts(first, n)
	if err != nil {
		return nil, err
	}
	s, enc := new(signed), encoding()
	for _, pair := range pairs {
		if err := s.add(pair, enc); err != nil {
			return nil, fmt.Errorf("%s: %w", p.path("good"), err)
		}
	}
	return s, nil
}
