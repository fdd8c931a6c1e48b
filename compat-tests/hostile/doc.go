// Package hostile holds what a broker on an open port meets: clients that lie about lengths, that fall silent, that never
// read, and that send bytes which grow when they are looked at.
package hostile
