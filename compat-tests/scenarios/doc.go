// Package scenarios holds the long tests: what people use a broker for, at the size at which they use it.
package scenarios
