// Members of consumer groups with kafkajs, by commands on stdin: see ../java/Members.java. It knows open and close, and has
// one assignor, its own. It commits every record before it takes the next.
'use strict'

const readline = require('node:readline')
const { Kafka, logLevel } = require('kafkajs')

const [bootstrap] = process.argv.slice(2)
const kafka = new Kafka({ clientId: 'groups', brokers: [bootstrap], logLevel: logLevel.ERROR })

class Member {
  constructor (options) {
    this.options = options
    this.owned = []
  }

  emit (e, more = {}) {
    const { group: g, name: m } = this.options
    process.stdout.write(JSON.stringify({ t: Number(process.hrtime.bigint()), g, m, e, ...more }) + '\n')
  }

  // give emits what the member has had until now as given up.
  give () {
    if (this.owned.length > 0) this.emit('revoked', { ps: this.owned })
    this.owned = []
  }

  async open () {
    const { group: groupId, topics, session, heartbeat } = this.options
    const consumer = this.consumer = kafka.consumer({
      groupId,
      sessionTimeout: Number(session),
      heartbeatInterval: Number(heartbeat),
      maxWaitTimeInMs: 100,
      metadataMaxAge: 1000
    })
    consumer.on(consumer.events.REBALANCING, () => this.give())
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) => {
      this.give()
      this.owned = Object.entries(payload.memberAssignment).flatMap(([topic, ps]) => ps.map(p => `${topic}-${p}`)).sort()
      this.emit('assigned', { ps: this.owned })
    })
    consumer.on(consumer.events.CRASH, ({ payload }) => this.emit('failed', { why: String(payload.error) }))
    await consumer.connect()
    await consumer.subscribe({ topics: topics.split(','), fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      eachMessage: async ({ topic, partition, message }) => {
        const p = `${topic}-${partition}`
        this.emit('polled', { p, o: Number(message.offset), v: message.value.toString() })
        const next = Number(message.offset) + 1
        await consumer.commitOffsets([{ topic, partition, offset: String(next) }])
        this.emit('committed', { os: { [p]: next } })
      }
    })
    this.emit('opened')
  }

  async close () {
    await this.consumer.disconnect()
    this.emit('closed')
  }
}

const members = new Map()
readline.createInterface({ input: process.stdin }).on('line', line => {
  const [verb, key, ...words] = line.split(/ +/)
  if (verb === 'open') {
    members.set(key, new Member(Object.fromEntries(words.filter(w => w).map(w => w.split('=')))))
  }
  const m = members.get(key)
  m[verb]().catch(err => m.emit('failed', { why: String(err) }))
})
