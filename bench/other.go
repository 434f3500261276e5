package bench

import "context"

func (s *session) memory(ctx context.Context) error    { return nil }
func (s *session) mixedLoad(ctx context.Context) error { return nil }
func (s *session) large(ctx context.Context) error     { return nil }
func (s *session) compare(ctx context.Context) error   { return nil }
