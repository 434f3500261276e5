// Package jsontext appends strings to JSON texts. Replies are written by hand, because their bytes are part of the API;
// their strings are escaped here. Any string gives valid JSON.
//
// It must not know any other package of this module.
package jsontext
