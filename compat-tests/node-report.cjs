// What the Node client programs share: their arguments, their records, and how they report.
'use strict'

const [bootstrap, prefix, phase] = process.argv.slice(2)
const filler = 'x'.repeat(200)

exports.bootstrap = bootstrap
exports.topic = `${prefix}-topic`
exports.group = `${prefix}-group`
exports.second = phase === 'second'
exports.records = 60

// scenario runs one scenario and prints its verdict. The first failure ends the program.
exports.scenario = async (name, run) => {
  try {
    await run()
    console.log('ok', name)
  } catch (e) {
    console.error(e)
    console.log(`fail ${name}: ${e}`)
    process.exit(1)
  }
}

// record is the i-th record of a producing scenario.
exports.record = (tag, i) => ({ key: `${tag}-${i}`, value: `${tag}:${i}:${filler}`, headers: { codec: tag } })

// within fails when promise takes longer than a minute.
exports.within = (promise, what) => {
  let timer
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what()} in 60 s`)), 60_000)
  })
  return Promise.race([promise, late]).finally(() => clearTimeout(timer))
}

// Seen has the keys of the records that were read.
exports.Seen = class extends Set {
  take (key, value, codec) {
    if (value !== key.replace('-', ':') + ':' + filler) throw new Error(`the value of ${key} is ${value}`)
    if (!codec) throw new Error(`${key} has no header`)
    if (this.has(key)) throw new Error(`${key} came twice`)
    this.add(key)
  }

  equal (written) {
    for (const key of written) {
      if (!this.has(key)) throw new Error(`${key} was not read (${this.size} of ${written.size} were)`)
    }
    if (this.size !== written.size) throw new Error(`${this.size} records were read, ${written.size} written`)
  }
}
