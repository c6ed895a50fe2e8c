// Package museum keeps a small store of every format that there was, and reads each in every test run: what somebody
// stored once has to stay readable.
//
// testdata/NAME holds a store as it was then, and the identity that opens it, which protects nothing. All of them hold the
// same states of one tree, which build in states.go makes anew to compare with. To add one, when the format changes or a
// release is made:
//
//	go test ./test/museum -freeze NAME
//
// Never change or remove what is in testdata, nor a state.
package museum
