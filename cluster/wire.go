package cluster

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"

	"moldau.io/moldau/cluster/meta"
)

// Commands and replies travel between brokers as CBOR: a map from the names of fields to their values, so that a broker
// reads what one of another build has written. A field that it does not know is passed over, one that is missing is zero.
// A field therefore never changes its name or its type; where its meaning changes it gets a new one.
//
//	+--------+------------------------+
//	| array(2) | name, value          |   name: the Go type, such as CreateTopics
//	+--------+------------------------+

// errWire says that bytes from another broker are not what they should be.
var errWire = errors.New("not understood")

// commandTypes are all that travel; a reply is found by its command's name.
var commandTypes = []struct {
	command meta.Command
	reply   meta.Reply
}{
	{meta.Bootstrap{}, meta.BootstrapReply{}},
	{meta.RegisterBroker{}, meta.RegisterBrokerReply{}},
	{meta.BrokerHeartbeat{}, meta.BrokerHeartbeatReply{}},
	{meta.BrokerGone{}, meta.BrokerGoneReply{}},
	{meta.AdmitNode{}, meta.AdmitNodeReply{}},
	{meta.UnregisterBroker{}, meta.UnregisterBrokerReply{}},
	{meta.DrainBroker{}, meta.DrainBrokerReply{}},
	{meta.AlterPartition{}, meta.AlterPartitionReply{}},
	{meta.ElectLeaders{}, meta.ElectLeadersReply{}},
	{meta.AlterReassignments{}, meta.AlterReassignmentsReply{}},
	{meta.CreateTopics{}, meta.CreateTopicsReply{}},
	{meta.DeleteTopics{}, meta.DeleteTopicsReply{}},
	{meta.CreatePartitions{}, meta.CreatePartitionsReply{}},
	{meta.AlterConfigs{}, meta.AlterConfigsReply{}},
	{meta.UpdateFeatures{}, meta.UpdateFeaturesReply{}},
	{meta.AllocateProducerIDs{}, meta.AllocateProducerIDsReply{}},
}

// wireElementsMax bounds how many elements a list of a message may have: it is the partitions of a large topic, or all
// that one leader wants to change at once.
const wireElementsMax = 1 << 20

// wire turns commands and replies into bytes and back.
type wire struct {
	enc cbor.EncMode
	dec cbor.DecMode

	commands map[string]reflect.Type
	replies  map[string]reflect.Type
}

type envelope struct {
	_    struct{} `cbor:",toarray"`
	Name string
	Body cbor.RawMessage
}

func newWire() *wire {
	enc, err := cbor.EncOptions{Sort: cbor.SortNone}.EncMode()
	if err != nil {
		panic(err) // the options are constant
	}
	dec, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, MaxNestedLevels: 16,
		MaxArrayElements: wireElementsMax, MaxMapPairs: wireElementsMax,
		IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden, UTF8: cbor.UTF8DecodeInvalid,
	}.DecMode()
	if err != nil {
		panic(err)
	}
	w := &wire{enc: enc, dec: dec, commands: map[string]reflect.Type{}, replies: map[string]reflect.Type{}}
	for _, t := range commandTypes {
		c, r := reflect.TypeOf(t.command), reflect.TypeOf(t.reply)
		w.commands[c.Name()], w.replies[r.Name()] = c, r
	}
	return w
}

// encode is for our own values; one that cannot be encoded is a mistake of ours.
func (w *wire) encode(v any) []byte {
	b, err := w.enc.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return b
}

func (w *wire) decode(b []byte, v any) error {
	if err := w.dec.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%w: %w", errWire, err)
	}
	return nil
}

func (w *wire) encodeCommand(c meta.Command) []byte {
	return w.encode(envelope{Name: reflect.TypeOf(c).Name(), Body: w.encode(c)})
}

func (w *wire) decodeCommand(b []byte) (meta.Command, error) {
	v, err := w.decodeNamed(w.commands, b)
	if err != nil {
		return nil, fmt.Errorf("command: %w", err)
	}
	return v.(meta.Command), nil
}

func (w *wire) encodeReply(r meta.Reply) []byte {
	return w.encode(envelope{Name: reflect.TypeOf(r).Name(), Body: w.encode(r)})
}

func (w *wire) decodeReply(b []byte) (meta.Reply, error) {
	v, err := w.decodeNamed(w.replies, b)
	if err != nil {
		return nil, fmt.Errorf("reply: %w", err)
	}
	return v.(meta.Reply), nil
}

func (w *wire) decodeNamed(types map[string]reflect.Type, b []byte) (any, error) {
	var e envelope
	if err := w.decode(b, &e); err != nil {
		return nil, err
	}
	t, ok := types[e.Name]
	if !ok {
		return nil, fmt.Errorf("%w: %.40q is unknown to this build", errWire, e.Name)
	}
	v := reflect.New(t)
	if err := w.decode(e.Body, v.Interface()); err != nil {
		return nil, fmt.Errorf("%s: %w", e.Name, err)
	}
	return v.Elem().Interface(), nil
}
