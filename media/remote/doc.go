// Package remote reads the chunks of one volume of a store that another machine keeps: Medium asks, Handler answers,
// over HTTP. Nothing can be written through it: what a session writes goes through a pipe, whose other end is where
// the store is.
//
// Start reading at Medium; the requests are listed at Handler.
package remote
