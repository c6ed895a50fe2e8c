// Package apps runs programs that people use on a mount, with their own checks of what they did: databases
// whose server is killed below them, git, the Go compiler, rsync, tar, and the testers of file systems that
// Debian has. They come from Debian; what they do is longer in a soak.
package apps
