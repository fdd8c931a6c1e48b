// kafkajs: see ../scenarios.md.
'use strict'

const zlib = require('node:zlib')
const { CompressionCodecs, CompressionTypes, Kafka, logLevel } = require('kafkajs')
const SnappyCodec = require('kafkajs-snappy')
const lz4 = require('lz4-napi')
const { Seen, bootstrap, group, record, records, scenario, second, topic, within } = require('../node-report.cjs')

// kafkajs itself has gzip; it takes the others as plug-ins.
CompressionCodecs[CompressionTypes.Snappy] = SnappyCodec
CompressionCodecs[CompressionTypes.LZ4] = () => ({
  compress: encoder => lz4.compressFrame(encoder.buffer),
  decompress: buffer => lz4.decompressFrame(buffer)
})
CompressionCodecs[CompressionTypes.ZSTD] = () => ({
  compress: async encoder => zlib.zstdCompressSync(encoder.buffer),
  decompress: async buffer => zlib.zstdDecompressSync(buffer)
})

const codecs = {
  none: CompressionTypes.None,
  gzip: CompressionTypes.GZIP,
  snappy: CompressionTypes.Snappy,
  lz4: CompressionTypes.LZ4,
  zstd: CompressionTypes.ZSTD
}

const kafka = new Kafka({ clientId: 'compat', brokers: [bootstrap], logLevel: logLevel.ERROR })

async function createTopic () {
  const admin = kafka.admin()
  await admin.connect()
  await admin.createTopics({ topics: [{ topic, numPartitions: 3, replicationFactor: 1 }] })
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  if (topics[0].partitions.length !== 3) throw new Error(`${topics[0].partitions.length} partitions`)
  await admin.disconnect()
}

async function produce (tag, written, compression, idempotent) {
  const producer = kafka.producer({ idempotent })
  await producer.connect()
  const messages = Array.from({ length: records }, (_, i) => record(tag, i))
  const results = await producer.send({ topic, acks: -1, compression, messages })
  if (results.some(r => r.errorCode !== 0 || !(Number(r.baseOffset) >= 0))) throw new Error(JSON.stringify(results))
  for (const m of messages) written.add(m.key)
  await producer.disconnect()
}

// read reads at least that many records as a member of a group, and leaves. It commits after every batch.
async function read (groupId, atLeast, seen) {
  const consumer = kafka.consumer({ groupId })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let left = atLeast
  const enough = new Promise((resolve, reject) => {
    consumer.on(consumer.events.CRASH, e => reject(e.payload.error))
    consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        if (left <= 0) return
        for (const m of batch.messages) {
          seen.take(m.key.toString(), m.value.toString(), m.headers.codec?.toString())
          left--
        }
        const offset = String(BigInt(batch.lastOffset()) + 1n)
        await consumer.commitOffsets([{ topic, partition: batch.partition, offset }])
        if (left <= 0) resolve()
      }
    }).catch(reject)
  })
  await within(enough, () => `${left} records were not read`)
  await consumer.disconnect()
}

async function first () {
  const written = new Set()
  const seen = new Seen()
  await scenario('create-topic', createTopic)
  for (const [name, codec] of Object.entries(codecs)) {
    await scenario(`produce-${name}`, () => produce(name, written, codec, false))
  }
  await scenario('produce-idempotent', () => produce('idempotent', written, CompressionTypes.None, true))
  await scenario('read-back', async () => {
    const all = new Seen()
    await read(`${group}-reader`, written.size, all) // kafkajs reads in groups only
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
  await produce('again', written, CompressionTypes.ZSTD, true)
  await read(group, records, seen)
  seen.equal(written)
}

second ? scenario('after-restart', afterRestart) : first()
