// Package gen writes the code of ecbatch that is too long and too regular to be written by hand: the field
// arithmetic of package field, and the AVX-512 kernels. `go generate` in ecbatch runs it through
// the command in ./emit; a test compares what it writes with what is committed, byte for byte.
package gen

// Files is every generated file: its path below the directory of package ecbatch, and its text.
func Files() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, m := range moduli {
		text, err := fieldFile(m)
		if err != nil {
			return nil, err
		}
		files["internal/field/"+m.File] = text
	}
	files["ifma256_amd64.s"] = ifma256()
	files["ifma384_amd64.s"] = ifma384()
	return files, nil
}
