// @platformatic/kafka: see ../scenarios.md.
'use strict'

const { Admin, Consumer, Producer, stringDeserializers, stringSerializers } = require('@platformatic/kafka')
const { Seen, bootstrap, group, record, records, scenario, second, topic, within } = require('../node-report.cjs')

const connection = { clientId: 'compat', bootstrapBrokers: [bootstrap] }

async function createTopic () {
  const admin = new Admin(connection)
  await admin.createTopics({ topics: [topic], partitions: 3, replicas: 1 })
  const metadata = await admin.metadata({ topics: [topic] })
  const n = metadata.topics.get(topic).partitions.length
  if (n !== 3) throw new Error(`${n} partitions`)
  await admin.close()
}

async function produce (tag, written, compression, idempotent) {
  const producer = new Producer({ ...connection, serializers: stringSerializers, acks: -1, compression, idempotent })
  const messages = Array.from({ length: records }, (_, i) => ({ topic, ...record(tag, i) }))
  const { offsets } = await producer.send({ messages })
  if (!offsets?.length || offsets.some(o => o.offset < 0n)) throw new Error(`offsets ${offsets}`)
  for (const m of messages) written.add(m.key)
  await producer.close()
}

// read reads at least that many records as a member of a group, commits each, and leaves.
async function read (groupId, atLeast, seen) {
  const consumer = new Consumer({ ...connection, groupId, deserializers: stringDeserializers, maxWaitTime: 500 })
  const stream = await consumer.consume({ topics: [topic], autocommit: false, mode: 'committed', fallbackMode: 'earliest' })
  let left = atLeast
  const enough = (async () => {
    for await (const m of stream) {
      seen.take(m.key, m.value, m.headers.get('codec'))
      await m.commit()
      if (--left === 0) return
    }
  })()
  await within(enough, () => `${left} records were not read`)
  await consumer.close(true)
}

async function first () {
  const written = new Set()
  const seen = new Seen()
  await scenario('create-topic', createTopic)
  for (const name of ['none', 'gzip', 'snappy', 'lz4', 'zstd']) {
    await scenario(`produce-${name}`, () => produce(name, written, name, false))
  }
  await scenario('produce-idempotent', () => produce('idempotent', written, 'none', true))
  await scenario('read-back', async () => {
    const all = new Seen()
    await read(`${group}-reader`, written.size, all) // it reads in groups only
    all.equal(written)
  })
  await scenario('group-commit', () => read(group, 100, seen))
  await scenario('group-resume', async () => {
    await read(group, written.size - seen.size, seen)
    seen.equal(written)
  })
}

async function afterRestart () {
  const written = new Set()
  const seen = new Seen()
  await produce('again', written, 'lz4', true)
  await read(group, records, seen)
  seen.equal(written)
}

second ? scenario('after-restart', afterRestart) : first()
