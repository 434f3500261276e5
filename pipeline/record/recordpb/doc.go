// Package recordpb holds the generated messages of record.proto, which documents them. Package record validates them.
package recordpb
