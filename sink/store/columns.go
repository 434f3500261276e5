package store

// Reading one long column. The driver hands a result over row by row, which costs more than all else when there are a
// hundred million rows. The protocol's package below the driver decodes whole blocks: a column of a block is one read
// from the socket. Such a query has a connection of its own, and needs few of the protocol's packets.
//
// Rejected: the client that the protocol's package has, too. It brings a logger, a tracer and SSH along.

import (
	"context"
	"errors"
	"fmt"
	"net"

	chproto "github.com/ClickHouse/ch-go/proto"
	"github.com/ClickHouse/clickhouse-go/v2"
)

// wireVersion is the version of the protocol that is spoken here. Servers speak every version up to their own. In this
// one a column has one encoding, and no packets tell of the query's profile.
const wireVersion = 54448

// readColumn runs a query of one column, and calls each whenever column holds the rows of the next block. It is valid
// until each returns. An error of each ends the query and is returned, wrapped.
func (db *DB) readColumn(ctx context.Context, what, query string, column chproto.Column, each func() error) error {
	conn, err := db.dialAny(ctx)
	if err != nil {
		return db.wrap(ctx, err, what)
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })() // wakes a Read
	c := &columnReader{conn: conn, in: chproto.NewReader(conn), column: column, each: each}
	if err := c.greet(db.options.Auth); err != nil {
		return db.wrap(ctx, err, what)
	}
	return db.wrap(ctx, c.run(query, db.settings(readSilence)), what)
}

// dialAny connects to the first address that answers.
func (db *DB) dialAny(ctx context.Context) (net.Conn, error) {
	d := db.dialers[0]
	var errs []error
	for _, address := range d.silent.last(db.options.Addr) {
		conn, err := d.dial(ctx, address)
		if err == nil {
			return conn, nil
		}
		errs = append(errs, err)
	}
	return nil, errors.Join(errs...)
}

// columnReader is a connection for one query.
type columnReader struct {
	conn   net.Conn
	in     *chproto.Reader
	column chproto.Column
	each   func() error
}

func (c *columnReader) send(encode func(b *chproto.Buffer)) error {
	var b chproto.Buffer
	encode(&b)
	_, err := c.conn.Write(b.Buf)
	return err
}

// greet exchanges who is who.
func (c *columnReader) greet(auth clickhouse.Auth) error {
	err := c.send(chproto.ClientHello{
		Name: "countersign", ProtocolVersion: wireVersion, Database: auth.Database, User: auth.Username, Password: auth.Password,
	}.Encode)
	if err != nil {
		return err
	}
	code, err := c.in.UVarInt()
	switch {
	case err != nil:
		return err
	case chproto.ServerCode(code) == chproto.ServerCodeException:
		return c.exception()
	case chproto.ServerCode(code) != chproto.ServerCodeHello:
		return fmt.Errorf("the server greets with a packet %v", chproto.ServerCode(code))
	}
	return new(chproto.ServerHello).DecodeAware(c.in, wireVersion)
}

// run sends the query and reads the answer to its end.
func (c *columnReader) run(query string, settings clickhouse.Settings) error {
	q := chproto.Query{
		Body: query, Stage: chproto.StageComplete, Compression: chproto.CompressionDisabled,
		Info: chproto.ClientInfo{ProtocolVersion: wireVersion, Interface: chproto.InterfaceTCP, Query: chproto.ClientQueryInitial, ClientName: "countersign"},
	}
	for key, value := range settings {
		if b, ok := value.(bool); ok {
			value = map[bool]int{true: 1}[b]
		}
		q.Settings = append(q.Settings, chproto.Setting{Key: key, Value: fmt.Sprint(value), Important: true})
	}
	err := c.send(func(b *chproto.Buffer) {
		q.EncodeAware(b, wireVersion)
		chproto.ClientCodeData.Encode(b) // no table comes with the query
		chproto.ClientData{}.EncodeAware(b, wireVersion)
		chproto.Block{Info: chproto.BlockInfo{BucketNum: -1}}.EncodeAware(b, wireVersion)
	})
	for ended := false; err == nil && !ended; {
		ended, err = c.packet()
	}
	return err
}

// packet reads one packet of the answer.
func (c *columnReader) packet() (ended bool, err error) {
	code, err := c.in.UVarInt()
	if err != nil {
		return false, err
	}
	switch chproto.ServerCode(code) {
	case chproto.ServerCodeData:
		return false, c.block()
	case chproto.ServerCodeProgress:
		return false, new(chproto.Progress).DecodeAware(c.in, wireVersion)
	case chproto.ServerCodeProfile:
		return false, new(chproto.Profile).DecodeAware(c.in, wireVersion)
	case chproto.ServerCodeEndOfStream:
		return true, nil
	case chproto.ServerCodeException:
		return false, c.exception()
	default:
		return false, fmt.Errorf("the server answers with a packet %v", chproto.ServerCode(code))
	}
}

func (c *columnReader) block() error {
	if _, err := c.in.Str(); err != nil { // the name of a table that comes with the block
		return err
	}
	c.column.Reset()
	var b chproto.Block
	err := b.DecodeBlock(c.in, wireVersion, chproto.ResultColumn{Data: c.column})
	if err != nil || b.Rows == 0 {
		return err
	}
	return c.each()
}

// exception reads an error of the server as the driver would give it.
func (c *columnReader) exception() error {
	var e chproto.Exception
	if err := e.DecodeAware(c.in, wireVersion); err != nil {
		return err
	}
	return &clickhouse.Exception{Code: int32(e.Code), Name: e.Name, Message: e.Message, StackTrace: e.Stack}
}
