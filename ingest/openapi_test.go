package ingest

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"countersign/ingest/problem"
	"countersign/ingest/web"
)

func TestOpenAPIDescribesEveryCall(t *testing.T) {
	h := start(t, nil)
	var doc struct {
		Paths      map[string]map[string]json.RawMessage
		Components struct {
			Schemas struct{ ProblemKind struct{ Enum []string } }
		}
	}
	if err := json.Unmarshal([]byte(h.Do("GET", "/openapi.json", nil).Body), &doc); err != nil {
		t.Fatal(err)
	}
	var described, served []string
	for path, calls := range doc.Paths {
		for method := range calls {
			described = append(described, strings.ToUpper(method)+" "+path)
		}
	}
	parameter := regexp.MustCompile(`:(\w+)`)
	for _, c := range append(h.calls(), web.Calls("")...) {
		if !strings.HasPrefix(c.Pattern, "/static/") {
			served = append(served, c.Method+" "+parameter.ReplaceAllString(c.Pattern, "{$1}"))
		}
	}
	slices.Sort(described)
	slices.Sort(served)
	if !slices.Equal(described, served) {
		t.Errorf("described: %q\nserved: %q", described, served)
	}
	var kinds []string
	for _, p := range problem.Examples() {
		kinds = append(kinds, p.Kind)
		var members map[string]any
		if err := json.Unmarshal(p.AppendJSON(nil, ""), &members); err != nil {
			t.Errorf("%s: %v", p.Kind, err)
		}
	}
	slices.Sort(kinds)
	if !slices.Equal(kinds, doc.Components.Schemas.ProblemKind.Enum) {
		t.Errorf("kinds: %q\ndescribed: %q", kinds, doc.Components.Schemas.ProblemKind.Enum)
	}
}
