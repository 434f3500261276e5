package kafkaio

const crashDirVariable = "KAFKAIO_TEST_CRASH_DIR"

func crashChild(dir string) {}
