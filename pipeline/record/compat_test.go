package record

// Records of earlier versions, byte for byte, as they may still be in a log.

import (
	"encoding/hex"
	"testing"

	"google.golang.org/protobuf/proto"

	"countersign/pipeline/record/recordpb"
)

// Records of topic uploads from before chunks named their client.
var withoutClient = map[string]string{
	"a chunk": "0a580a1030313233343536373839616263646566120b6578616d706c652e636f6d18e80722203031323334353637383930313233343536373839" +
		"3031323334353637383930312a010132037369673a02030042061201781a0179",
	"a chunk with its seal": "0a92010a1030313233343536373839616263646566120b6578616d706c652e636f6d2220303132333435363738393031323334353637" +
		"38393031323334353637383930312a010132037369673a0203004a430a10303132333435363738396162636465661210666564636261393837363534333231301a" +
		"0b6578616d706c652e636f6d200128ffffffffffffffffff0130d2093801",
	"a seal": "12430a10303132333435363738396162636465661210666564636261393837363534333231301a0b6578616d706c652e636f6d200128ffffffffffff" +
		"ffffff0130d2093801",
}

func TestRecordsWithoutAClientAreRead(t *testing.T) {
	for name, text := range withoutClient {
		b, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		m, err := DecodeUpload(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if client := m.GetSeal().GetClient(); len(client) != 0 || m.GetChunk() != nil && len(ClientOf(m.GetChunk())) != 0 {
			t.Errorf("%s names a client", name)
		}
		if again := hex.EncodeToString(Encode(m)); again != text {
			t.Errorf("%s is written differently now: %s", name, again)
		}
	}
}

// A version that doesn't know the field reads over it: what it decodes is the chunk without its client.
func TestAClientIsAFieldThatOthersReadOver(t *testing.T) {
	plain, named := chunk(1), chunk(1)
	named.Client = []byte("8 bytes.")
	a, b := Encode(plain), Encode(named)
	if string(b) != string(a)+"\x52\x08"+"8 bytes." {
		t.Errorf("the client is not the last field, of number 10: %x", b)
	}
	m := new(recordpb.Chunk)
	if err := proto.Unmarshal(b, m); err != nil || string(ClientOf(m)) != "8 bytes." {
		t.Errorf("client %q, %v", ClientOf(m), err)
	}
	m.Client, m.Seal = nil, &recordpb.Seal{Client: []byte("the seal")}
	if string(ClientOf(m)) != "the seal" {
		t.Errorf("client %q of a chunk that has its seal", ClientOf(m))
	}
}
