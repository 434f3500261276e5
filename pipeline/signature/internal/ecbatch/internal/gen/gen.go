package gen

// The list of what is generated.

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
